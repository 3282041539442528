"""Telling people and programs of alarms: webhook, MQTT, mail, a command, the journal.

`Notifiers` is all of it; `gateway.config.notifiers.load_notifiers` reads the section ``notify:``.
The engine has `Notifiers.put` as a listener before it starts, so that nothing is missed:

    notifiers = Notifiers(plant.notify, plant.name, plant.state_dir,
                          history=alarms.history, on_event=events.record)
    alarms.listen(notifiers.put)
    notifiers.start()            # when the engine has started: it reads the alarm history
    notifiers.exchange(configs, stop_s)      # at a reload
    notifiers.stop(stop_s)       # after the engine has stopped, before its database is closed

The documents of `Alarms.history` may have a key ``notify``, as `Transition.notify`: without it all
are told of what was not sent before a restart.
"""

from gateway.alarms.notify.notifiers import Notifiers, make_channel
from gateway.alarms.notify.settings import KINDS, NotifierConfig

__all__ = ["KINDS", "NotifierConfig", "Notifiers", "make_channel"]
