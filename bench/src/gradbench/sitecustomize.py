"""Lets GradBench's evaluators, written for pydantic 2, run with Debian's pydantic 1: the one name that they use."""

from pydantic import BaseModel

if not hasattr(BaseModel, "model_validate"):
    BaseModel.model_validate = classmethod(lambda cls, value: cls.parse_obj(value))
