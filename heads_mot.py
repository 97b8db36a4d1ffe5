# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which class each Auto class means, and what a saved folder says of them.

It imports every head, so that the code of all of them goes with a checkpoint, whichever class is saved.
"""

from .head_classification_mot import MoTForAudioClassification, MoTForImageClassification, MoTForSequenceClassification
from .head_masked_lm_mot import MoTForMaskedLM
from .head_pretraining_mot import MoTForPreTraining
from .head_retrieval_mot import MoTForRetrieval
from .modeling_mot import MoTModel

AUTO_CLASSES = {
    "AutoModel": MoTModel,  # or MoTForRetrieval, where that was saved
    "AutoModelForSequenceClassification": MoTForSequenceClassification,
    "AutoModelForImageClassification": MoTForImageClassification,
    "AutoModelForAudioClassification": MoTForAudioClassification,
    "AutoModelForZeroShotImageClassification": MoTForRetrieval,
    "AutoModelForPreTraining": MoTForPreTraining,
    "AutoModelForMaskedLM": MoTForMaskedLM,
}


def auto_map(auto_model: str) -> dict[str, str]:
    """Auto class -> "module.Class" of a saved folder, in which `AutoModel` means the class named `auto_model`."""
    by_name = {model_class.__name__: model_class for model_class in AUTO_CLASSES.values()}
    classes = AUTO_CLASSES | {"AutoModel": by_name[auto_model]}
    return {"AutoConfig": "configuration_mot.MoTConfig"} | {
        auto_class: f"{model_class.__module__.rpartition('.')[2]}.{model_class.__name__}"
        for auto_class, model_class in classes.items()
    }


__all__ = ["AUTO_CLASSES", "auto_map"]
