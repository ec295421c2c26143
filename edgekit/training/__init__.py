"""Training a smaller model, or one for its quantization: losses, batches, the teacher's answers, the loop.

    encoded     texts, words or pictures -> examples without a batch axis           tasks.py
    split       what is trained on, what stops it, what is held out                 batches.py
    TeacherCache.build  the teacher's answers, once, on disk                        cache.py
    train       AdamW over any mean loss; validation, early stopping, checkpoints   loop.py

Nothing heavy is imported here; the modules import torch when they are used.
"""
