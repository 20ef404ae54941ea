"""The planner of TranscriptionJobs and OCRJobs."""
