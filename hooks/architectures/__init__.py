"""One module per family: a blueprint where conventions fail, and a small config for the tests."""
