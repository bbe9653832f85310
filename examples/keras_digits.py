"""Keras on its torch backend: one line in fit. Run: python examples/keras_digits.py [RUN]."""

import os
import sys

os.environ["KERAS_BACKEND"] = "torch"  # before keras is imported

import keras
from sklearn.datasets import load_digits

import actrace

path = sys.argv[1] if len(sys.argv) > 1 else "runs/keras"
images, labels = load_digits(return_X_y=True)
x = images.astype("float32") / 16

model = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Dense(100, activation="relu", name="hidden"),
        keras.layers.Dense(10, name="digit"),
    ]
)
model.compile(
    keras.optimizers.Adam(1e-2),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(
    x[:1437],
    labels[:1437],
    validation_data=(x[1437:], labels[1437:]),
    batch_size=64,
    epochs=3,
    verbose=2,
    callbacks=[actrace.KerasCallback(path)],  # the line
)
print(actrace.twin_peaks(actrace.open(path)).understanding.to_dataframe())
