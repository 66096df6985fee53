"""Grid → plotly figure: pure functions that know neither torch nor dash."""
