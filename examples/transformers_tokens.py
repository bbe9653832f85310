"""Transformers: one line in the Trainer. Run: python examples/transformers_tokens.py [RUN]."""

import sys
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import actrace

path = sys.argv[1] if len(sys.argv) > 1 else "runs/transformers"

# Sequences of tokens whose class is how many of the first four are even: nothing to download.
torch.manual_seed(0)
tokens = torch.randint(0, 20, (1200, 8))
classes = (tokens[:, :4] % 2 == 0).sum(1).clamp(max=2)
data = [{"input_ids": t, "labels": c} for t, c in zip(tokens, classes, strict=True)]

names = {0: "none", 1: "one", 2: "more"}
model = BertForSequenceClassification(
    BertConfig(
        vocab_size=20,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=8,
        id2label=names,
        label2id={name: at for at, name in names.items()},
    )
)
with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model,
        TrainingArguments(
            folder,
            num_train_epochs=3,
            per_device_train_batch_size=32,
            learning_rate=3e-3,
            eval_strategy="epoch",
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=data[:1000],
        eval_dataset=data[1000:],
        callbacks=[actrace.TransformersCallback(path)],  # the line
    )
    trainer.train()
print(actrace.twin_peaks(actrace.open(path)).understanding.to_dataframe())
