"""What an evaluation is made of: baselines, the questions asked of models, each row's scores, intervals, costs."""
