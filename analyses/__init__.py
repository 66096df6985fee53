"""What is computed: experiments, the catalogue of analyses, sweeps, metrics, labelled results."""
