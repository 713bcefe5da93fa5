"""What a user may choose: typed, frozen, documented option groups; standard library only."""

from deepmd_dpa4.config.descriptor import DescriptorConfig
from deepmd_dpa4.config.fitting import FittingConfig
from deepmd_dpa4.config.model import BridgingConfig
from deepmd_dpa4.config.parse import ConfigError, UnsupportedOption, parse_descriptor, parse_fitting

__all__ = [
    "BridgingConfig",
    "ConfigError",
    "DescriptorConfig",
    "FittingConfig",
    "UnsupportedOption",
    "parse_descriptor",
    "parse_fitting",
]
