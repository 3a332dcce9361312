from lmrun.client.acting import act as act
from lmrun.client.acting import act_async as act_async

__version__: str
