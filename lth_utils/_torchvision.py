"""The one place that imports torchvision."""

from types import ModuleType

import torch

_declared: torch.library.Library | None = None


def torchvision() -> ModuleType:
    """torchvision, also where its compiled operators do not match the installed torch.

    Beside a CPU build of torch, a torchvision built for CUDA cannot load its operators, and its
    import stops at the first one that it describes. Datasets, transforms and models need none
    of them, so that the names alone are declared, only then and only once.
    """
    global _declared
    try:
        import torchvision
    except RuntimeError as error:
        if _declared is not None or "torchvision::nms" not in str(error):
            raise
        # Kept in the module: a Library that is collected takes its operators with it.
        _declared = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision
