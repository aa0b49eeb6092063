"""A small world of captioned clips that can be drawn without end: scenes, their clips, captions, and a judge.

A seed gives a `Scene`; `render_clip` draws it at any resolution, `caption` describes it in words, and `judge` reads the
scene back from pixels. Knows nothing of models or torch.
"""
