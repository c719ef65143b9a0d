"""The web page over the Localizer: a video and sentences in, moments on timelines out."""
