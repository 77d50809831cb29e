"""Published accuracies on CIFAR-100: per cent, best epoch, as the authors report them."""

_PAIRS = (
    "resnet56/resnet20",
    "resnet110/resnet32",
    "resnet32x4/resnet8x4",
    "wrn_40_2/wrn_16_2",
    "wrn_40_2/wrn_40_1",
    "vgg13/vgg8",
)
_ROWS = {
    "labels": (69.06, 71.14, 72.50, 73.26, 71.98, 70.36),
    "kd": (70.66, 73.08, 73.33, 74.92, 73.54, 72.98),
    "fitnet": (69.21, 71.06, 73.50, 73.58, 72.24, 71.02),
    "rkd": (69.61, 71.82, 71.90, 73.35, 72.22, 71.48),
    "pkt": (70.34, 72.61, 73.64, 74.54, 73.45, 72.88),
    "crd": (71.16, 73.48, 75.51, 75.48, 74.14, 73.94),
    "reviewkd": (71.89, 73.89, 75.63, 76.12, 75.09, 74.84),
    "dkd": (71.97, 74.11, 76.32, 76.23, 74.81, 74.68),
    "dist": (71.75, 73.69, 76.31, 75.51, 74.73, 73.89),
    "wttm": (71.92, 74.13, 76.06, 76.37, 74.58, 74.44),
    "lskd": (71.43, 74.17, 76.62, 76.11, 74.37, 74.36),
}

PUBLISHED = {
    pair: {method: f"{row[index]:.2f}" for method, row in _ROWS.items()}
    for index, pair in enumerate(_PAIRS)
}
