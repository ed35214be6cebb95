"""AI Orchestra itself: puts the parts together that the steps and the criteria work with."""
