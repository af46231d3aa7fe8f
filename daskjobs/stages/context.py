"""The context of this pipeline's stages."""

from daskjobs.pipeline.context import StageContext
from daskjobs.stages.settings import Settings

Context = StageContext[Settings]
