"""WhisperX's alignment with a wav2vec2 model of the store: tiny, of random weights, so only the way is tested."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from steno_api.failures import FailureReason
from steno_api.v1alpha1.job import Stage
from steno_runtime.errors import WorkError
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import transcribe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def aligning(store, tmp_path):
    """A model store with whisper-base and an alignment model of English."""
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    (tmp_path / "whisper-base").symlink_to(store / "whisper-base")
    folder = tmp_path / "align-en"
    folder.mkdir()
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"]
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(letters)}))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), word_delimiter_token="|").save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    config = Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        conv_dim=(32,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return tmp_path


def transcribed(samples, store):
    reports = []
    result = transcribe(
        samples,
        TranscriptionOptions(model="whisper-base", model_store=store, device="cpu", language="en"),
        on_progress=reports.append,
        check=lambda: None,
    )
    return result, reports


def test_words_are_timed_by_the_model_of_the_language(aligning, store, sample):
    plain, _ = transcribed(sample, store)
    result, reports = transcribed(sample, aligning)
    assert Stage.ALIGNING in {update.stage for update in reports}
    words = [word for segment in result.segments for word in segment.words]
    before = [word for segment in plain.segments for word in segment.words]
    assert [word.word for word in words] == [word.word for word in before]
    assert [word.start for word in words] != [word.start for word in before]
    assert all(word.start <= word.end for word in words)
    for one, following in pairwise(words):
        assert one.start <= following.start


def test_a_folder_that_is_not_such_a_model_is_reported(aligning, sample):
    for name in ("config.json", "model.safetensors"):
        (aligning / "align-en" / name).write_text("{}")
    with pytest.raises(WorkError, match="align-en") as error:
        transcribed(sample[: 12 * 16_000], aligning)
    assert error.value.reason is FailureReason.MODEL_NOT_FOUND
