"""What comes with a class in videos or pictures: found without being told where, adjusted for."""
