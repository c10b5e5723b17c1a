"""The parts of an evaluation: baselines, the questions asked of models, each row's scores, intervals, costs."""
