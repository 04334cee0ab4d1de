"""A year of weekly retraining on the real stack, with incidents and a truth to grade it by. Start in `year`."""
