"""AI Orchestra's migration to Google Cloud, as libraries that the pytest suite drives."""
