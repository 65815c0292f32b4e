"""A headless Chromium that can reach this machine alone, and what a person does with the page."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def serving(*arguments: object) -> Iterator[str]:
    """`snellen serve ARGUMENTS` in a process of its own: the address of its page."""
    command = [sys.executable, "-m", "snellen", "serve", *map(str, arguments), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    said = ""
    try:
        while not (address := re.search(r"at (http://127\.0\.0\.1:\d+/)", said)):
            line = server.stderr.readline()
            said += line
            assert line, said
        yield address[1]
        server.terminate()
        rest = server.communicate(timeout=60)[1]
        assert "Traceback" not in rest, rest
    finally:
        server.kill()
        server.wait()


class Page:
    """The page of a server in a browser, of width x height px. address: what follows its URL."""

    def __init__(
        self,
        url: str,
        profile: Path,
        width: int,
        height: int,
        dark: bool = False,
        address: str = "",
        is_refused: bool = False,
    ) -> None:
        pytest.importorskip("selenium")
        chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
        if chromium is None or driver is None:
            pytest.skip("there is no Chromium with its driver")
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the network is off
            f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.url = url
        self.browser = webdriver.Chrome(options, Service(driver))
        self.browser.set_script_timeout(60)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._cdp("Emulation.setDeviceMetricsOverride", metrics)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._cdp("Emulation.setEmulatedMedia", {"features": scheme})
        self.requests()  # of the page before
        self.browser.get(url + address)
        self.until("!find('error').hidden" if is_refused else "document.title !== 'snellen'")

    def close(self) -> None:
        self.browser.quit()

    def text(self, name: str) -> str:
        """What a person reads in an element."""
        text: str = self.browser.find_element("id", name).text
        return text

    def is_shown(self, name: str) -> bool:
        return bool(self.browser.find_element("id", name).is_displayed())

    def click(self, name: str) -> None:
        self.browser.find_element("id", name).click()

    def slide(self, name: str, key: str, times: int) -> None:
        """Presses a key on a slider."""
        from selenium.webdriver.common.keys import Keys

        self.browser.find_element("id", name).send_keys(times * str(getattr(Keys, key)))

    def script(self, expression: str) -> object:
        return self.browser.execute_script(f"return {expression}")

    def until(self, condition: str) -> None:
        """Waits until an expression is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 120).until(lambda _: self.script(condition))

    def until_answered(self) -> None:
        self.until("find('note').textContent !== '…' && (find('classes').children.length > 0 || !find('error').hidden)")

    def drop(self, file: Path) -> None:
        """Drags a file from outside onto the page."""
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._cdp("Input.dispatchDragEvent", {"type": kind, "x": 180, "y": 200, "data": data})
        self.until_answered()

    def paste(self, png: bytes) -> None:
        """Copies an image, and pastes it with the keyboard."""
        permissions = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": self.url.rstrip("/")}
        self._cdp("Browser.grantPermissions", permissions)
        self._cdp("Emulation.setFocusEmulationEnabled", {"enabled": True})
        copied = self.browser.execute_async_script(
            """const [text, done] = arguments, item = new ClipboardItem({"image/png": fromBase64(text)});
            navigator.clipboard.write([item]).then(() => done("copied"), (error) => done(String(error)));""",
            base64.b64encode(png).decode(),
        )
        assert copied == "copied", copied
        before = self.script("latest")
        key = {
            "type": "keyDown",
            "key": "v",
            "code": "KeyV",
            "windowsVirtualKeyCode": 86,
            "modifiers": 2,
            "commands": ["paste"],
        }
        self._cdp("Input.dispatchKeyEvent", key)
        self._cdp("Input.dispatchKeyEvent", {**key, "type": "keyUp", "commands": []})
        self.until(f"latest > {before}")
        self.until_answered()

    def screenshot(self, file: Path) -> None:
        """The whole page."""
        content = self._cdp("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
        file.write_bytes(base64.b64decode(content))

    def requests(self) -> list[str]:
        """The addresses that the page has asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [request["request"]["url"] for request in sent if not request["documentURL"].startswith("chrome")]

    def complaints(self) -> list[str]:
        """What the browser's console says since the last call, but for answers of the server that are no 200."""
        said = [entry["message"] for entry in self.browser.get_log("browser")]
        return [line for line in said if "Failed to load resource: the server responded" not in line]

    def _cdp(self, command: str, arguments: dict[str, object]) -> dict[str, str]:
        result: dict[str, str] = self.browser.execute_cdp_cmd(command, arguments)
        return result
