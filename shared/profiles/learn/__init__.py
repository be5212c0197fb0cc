"""What is learned: classes from labels of people, features from images."""
