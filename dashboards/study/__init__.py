"""Pictures and page of a study: pure functions from arrays to figures and text."""
