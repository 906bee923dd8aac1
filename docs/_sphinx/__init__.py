"""Extensions of Sphinx that these pages need and that work without a network."""
