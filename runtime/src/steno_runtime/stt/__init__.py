"""Speech to text: from samples to a transcript with words, speakers and subtitles."""
