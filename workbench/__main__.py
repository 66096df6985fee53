"""python -m workbench, and the `workbench` command."""

import os


def main() -> None:
    """Run the command line."""
    # Read once, when torch loads its thread pool. By default its idle threads spin, which makes every operation tens of
    # times slower while another process (a browser, a second job) wants the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from workbench.cli import main as run

    run()


if __name__ == "__main__":
    main()
