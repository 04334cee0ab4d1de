"""What a team starts from: a vendor's file, three people's A, B or tie on each pair, and a small model that answers."""

import csv
import random
from pathlib import Path

from rlhf_core.base.from_text import pretrain
from rlhf_core.config.base import TextBaseConfig
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.training.stage import finish

RATERS = ("anna", "ben", "chloe")
THINGS = ("kettle", "headset", "printer", "router", "camera", "lamp", "heater", "tent", "watch", "radio")
FAULTS = ("does not start", "is too loud", "smells odd", "stops at once", "will not charge", "came broken")
QUESTIONS = (
    "My {thing} {fault}. What can I do?",
    "The {thing} that I bought in {month} {fault}.",
    "Order {order}: the {thing} {fault}. Please help!",
    "A question since {month}: my {thing} {fault}, is that covered?",
)
MONTHS = ("January", "March", "April", "May", "July", "August", "October", "November")
HELPFUL = (
    ("Sorry about that.", "That should not be.", "Thanks for telling us.", "We can help.", "Sorry to hear that!"),
    (
        "Please unplug the {thing}, wait {days} minutes and try again.",
        "Send us a photo of the {thing} and its number.",
        "The warranty covers a {thing} for {days} years.",
        "Print the label from your account and send the {thing} in.",
    ),
    ("We repair it for free.", "A new one is there in {days} days.", "You pay nothing.", "Then we call you on {day}."),
)
USELESS = (
    ("Thank you for your message.", "That is odd.", "We do not know.", "Hello and welcome.", "All lines are busy."),
    (
        "All messages about a {thing} are important to us.",
        "Have you read page {days} of the manual of the {thing}?",
        "Nobody else has had this with a {thing} since {month}.",
        "Maybe somebody else knows about the {thing}.",
    ),
    ("Write again in {days} days.", "Have a nice {day}.", "Ask where you bought it.", "We are closed until {day}."),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def write_pairs(path: Path, *, count: int = 360, seed: int = 0) -> None:
    """A row for each pair and rater; raters like the helpful answer in seven of ten, and two are ties."""
    draw = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "response_a", "response_b", "preferred", "rater"])
        for _ in range(count):
            question, helpful, useless = _said(draw)
            helpful_first = draw.random() < 0.5
            answers = (helpful, useless) if helpful_first else (useless, helpful)
            better, worse = ("A", "B") if helpful_first else ("B", "A")
            for rater in RATERS:
                writer.writerow([question, *answers, *draw.choices((better, worse, "tie"), (7, 1, 2)), rater])


def write_model(folder: Path, *, seed: int = 0) -> None:
    """A model of 155,000 weights that answers such questions, helpfully or not."""
    draw = random.Random(seed + 1)
    texts = []
    for _ in range(1500):
        question, *answers = _said(draw)
        texts.append(f"<|user|>{question}<|assistant|>{draw.choice(answers)}")
    config = TextBaseConfig(
        width=64,
        layers=2,
        heads=2,
        max_positions=256,
        vocabulary=600,
        steps=250,
        batch_size=16,
        optimiser=OptimiserConfig(lr=6e-3),
    )
    finish(pretrain(config, texts=texts, out=folder, seed=seed))


def _said(draw: random.Random) -> tuple[str, str, str]:
    """A question with a helpful and a useless answer."""
    words = {
        "thing": draw.choice(THINGS),
        "fault": draw.choice(FAULTS),
        "month": draw.choice(MONTHS),
        "order": draw.randint(1000, 9999),
        "days": draw.randint(2, 9),
        "day": draw.choice(DAYS),
    }
    helpful, useless = (" ".join(draw.choice(parts) for parts in answer) for answer in (HELPFUL, USELESS))
    return draw.choice(QUESTIONS).format(**words), helpful.format(**words), useless.format(**words)
