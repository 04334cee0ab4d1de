"""What labels and prompts are worth, said before anything is trained."""
