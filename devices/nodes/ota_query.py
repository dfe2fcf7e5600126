"""How an OTA client learns of an image: Image Notify, Query Next Image, and which offers it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.nodes.cluster import Effects, is_unicast
from devices.nodes.image_bank import Download
from devices.nodes.ota_states import Event, State
from devices.nodes.personality import Resume
from devices.wire import ota

if TYPE_CHECKING:
    from devices.nodes.ota_download import ImageDownload
    from devices.nodes.ota_machine import OtaMachine
    from devices.stack.interface import ApsIndication

_UNDISTURBED = frozenset({State.IDLE, State.QUERYING, State.ENDING, State.HELD, State.COUNTING})


class ImageQuery:
    def __init__(self, machine: OtaMachine, download: ImageDownload) -> None:
        self._machine = machine
        self._download = download
        self._personality = machine.settings.personality
        self._current_version = machine.banks.running_header().file_version
        self._resumes = False  # what is stored goes on at the deadline, where a query would else be due

    def server_found(self, now: float) -> Effects:
        machine = self._machine
        if not machine.go(Event.SERVER_FOUND):
            return []
        machine.misses = 0
        stored = machine.banks.download
        if stored is not None and self._personality.resume is Resume.AT_OFFSET:
            delay_s = machine.draw(None, self._personality.resume_delay_s)
            if not delay_s:
                return self._download.proceed(stored, now)
            self._resumes = True
            machine.deadline = now + delay_s
            return []
        machine.deadline = now + machine.draw(machine.settings.query_delay_s, self._personality.query_delay_s)
        return []

    def notified(self, notify: ota.ImageNotify, indication: ApsIndication, now: float) -> Effects:
        machine = self._machine
        asks_again = machine.state is State.QUERYING and self._personality.query_timeout_s is None
        if machine.state not in {State.IDLE, State.EXTERNAL} and not asks_again:
            return []
        if not is_unicast(indication) and not self._answers_broadcast(notify):
            return []
        if self._personality.copies_notify_security:
            machine.secured = indication.secured
        return self.ask(now, periodic=False)

    def _answers_broadcast(self, notify: ota.ImageNotify) -> bool:
        """ZCL8 11.13.3.2: the fields fit, the version is another one, and the dice show QueryJitter or less."""
        settings = self._machine.settings
        return (
            notify.manufacturer in {None, ota.ANY_MANUFACTURER, settings.manufacturer_code}
            and notify.image_type in {None, ota.ANY_IMAGE_TYPE, settings.image_type}
            and notify.file_version != self._current_version
            and self._machine.random.randint(1, 100) <= notify.jitter
        )

    def due(self, now: float) -> Effects:
        stored = self._machine.banks.download
        if self._resumes and stored is not None:
            self._resumes = False
            return self._download.proceed(stored, now)
        return self.ask(now)

    def ask(self, now: float, *, periodic: bool = True) -> Effects:
        """Query Next Image Request. A client that waits for no answer keeps to its period, asked in between or not."""
        machine, personality = self._machine, self._personality
        if machine.state is State.QUERYING:
            machine.go(Event.NOTHING)
        if not machine.go(Event.QUERY_DUE):
            return []
        self._resumes = False
        self._download.waits_for_more = False
        if personality.query_timeout_s is not None:
            machine.deadline = now + personality.query_timeout_s
        elif periodic or machine.deadline is None:
            machine.deadline = now + machine.draw(machine.settings.query_interval_s, personality.query_interval_s)
        settings = machine.settings
        current = ota.ImageId(settings.manufacturer_code, settings.image_type, self._current_version)
        hardware = settings.hardware_version if personality.query_has_hardware else None
        request = ota.QueryNextImageRequest(current, hardware)
        return [machine.send(ota.Command.QUERY_NEXT_IMAGE_REQUEST, request.to_bytes())]

    def missed(self, now: float) -> Effects:
        machine = self._machine
        if self._personality.query_timeout_s is None:
            return self.ask(now)
        machine.misses += 1
        if machine.misses < self._personality.query_attempts:
            return self.ask(now)
        return machine.seek(Event.SERVER_LOST, now)

    def answered(self, response: ota.QueryNextImageResponse, now: float) -> Effects:
        machine, settings = self._machine, self._machine.settings
        heard = {State.QUERYING} if self._personality.query_timeout_s is not None else _UNDISTURBED
        if machine.state not in heard:
            return []
        image = response.image
        if (
            image is None
            or (image.manufacturer, image.image_type) != (settings.manufacturer_code, settings.image_type)
            or image.file_version == self._current_version
            or not 0 < response.size_bytes <= machine.banks.bank_bytes
        ):
            return self.nothing_offered(now)
        offered = Download(image, response.size_bytes)
        refusal = self._personality.downgrade_refusal
        if refusal is not None and image.file_version < self._current_version:
            machine.wanted = offered
            return self._download.fail(refusal, "an older version", now)
        return self._download.proceed(offered, now)

    def nothing_offered(self, now: float) -> Effects:
        machine = self._machine
        if self._personality.query_timeout_s is None:
            machine.go(Event.NOTHING)  # and asks again when it would have
        else:
            machine.idle(Event.NOTHING, now)
        return []
