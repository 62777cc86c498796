"""Looks at the pages of both programs with Chromium, through chromedriver; tests/pages starts everything.

    browse.py DRIVER PROFILE PICTURES SERVER PULLER
"""

import base64
import json
import sys
import urllib.request

DRIVER, PROFILE, PICTURES, SERVER, PULLER = sys.argv[1:]

# Name, address, what its text must have.
PAGES = [
    ("databases", SERVER + "/", ["Databases", "shop", "odd", "Horizon", "proven"]),
    ("tables", SERVER + "/shop/", ["orders", "customers", "changed", "yes", "ago"]),
    ("rows", SERVER + "/shop/orders/", ["50 rows below the horizon", "status", "2"]),
    ("odd-tables", SERVER + "/odd/", ["<script>alert(1)</script>", "Cannot be pulled", "of_parent|foreign key"]),
    ("odd-rows", SERVER + "/odd/wide/", ["… (100000 characters)", "(base64, 29997 bytes)", "<b>bold</b>", "NULL"]),
    ("no-index", SERVER + "/odd/a%20name%20that%20is%20long%20enough%20to%20be%20a%20burden%20to%20whoever%20has%20to%20show/",
     ["has no index", "ADD INDEX"]),
    ("not-there", SERVER + "/shop/nothing/", ["There is no such thing", "there is no table nothing here"]),
    ("puller", PULLER + "/", ["shop → shop", "Lag", "orders", "Applied", "products", "Destination"]),
]

# Name, width, height, whether it is a phone.
SCREENS = [("desk", 1280, 900, False), ("phone", 390, 844, True)]

LOOK = r"""
const wrong = [];
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > width)
  wrong.push(`the page is ${document.documentElement.scrollWidth} wide on ${width}`);
const scrolls = element => element.closest('.scroll');
for (const element of document.body.querySelectorAll('*')) {
  const box = element.getBoundingClientRect();
  if (box.width && box.right > width + 1 && !scrolls(element) && !element.closest('svg'))
    wrong.push(`<${element.tagName} class="${element.className}"> ends at ${Math.round(box.right)} of ${width}`);
}
for (const scroll of document.querySelectorAll('.cards'))
  if (innerWidth < 700 && scroll.scrollWidth > scroll.clientWidth + 1) wrong.push('a card is wider than the screen');
const numbers = text => text.match(/[\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
  .reduce((sum, c, at) => sum + c * [.2126, .7152, .0722][at], 0);
const ground = element => {
  for (; element; element = element.parentElement) {
    const color = numbers(getComputedStyle(element).backgroundColor);
    if (color.length < 4 || color[3] > 0) return light(color);
  }
  return 1;
};
for (const element of document.body.querySelectorAll('*')) {
  if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
  const [text, back] = [light(numbers(getComputedStyle(element).color)), ground(element)];
  const contrast = (Math.max(text, back) + .05) / (Math.min(text, back) + .05);
  if (contrast < 4.5) wrong.push(`contrast ${contrast.toFixed(1)} of "${element.textContent.slice(0, 30)}"`);
}
const height = document.documentElement.scrollHeight;
if (height > Math.max(innerHeight, document.body.getBoundingClientRect().bottom + scrollY + 2))
  wrong.push(`the page is ${height} high, and its content is not`);
const headers = [...document.querySelectorAll('th')];
if (headers.some(header => !header.scope)) wrong.push('a header without scope');
if (document.querySelector('table') && !headers.length) wrong.push('a table without headers');
if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
if (document.documentElement.lang !== 'en') wrong.push('no language');
if (!document.title) wrong.push('no title');
if (document.querySelector('script, img')) wrong.push('a script or an image');
const loaded = performance.getEntriesByType('resource').map(entry => entry.name);
if (loaded.length) wrong.push(`it loaded ${loaded}`);
return { wrong, text: document.body.innerText, ground: ground(document.body) };
"""


def ask(method, path, body=None):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(DRIVER + path, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)["value"]


class Browser:
    def __init__(self, width, height, phone):
        options = {
            "binary": "/usr/bin/chromium",
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--no-proxy-server", "--disable-dev-shm-usage",
                f"--user-data-dir={PROFILE}-{width}", f"--window-size={width},{height}",
            ],
        }
        if phone:
            metrics = {"width": width, "height": height, "pixelRatio": 2, "mobile": True, "touch": True}
            options["mobileEmulation"] = {"deviceMetrics": metrics}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.path = "/session/" + session["sessionId"]

    def cdp(self, command, **parameters):
        return ask("POST", self.path + "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, url, scheme):
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.cdp("Emulation.setEmulatedMedia", features=media)
        ask("POST", self.path + "/url", {"url": url})
        return ask("POST", self.path + "/execute/sync", {"script": LOOK, "args": []})

    def said(self):
        return [entry["message"] for entry in ask("POST", self.path + "/se/log", {"type": "browser"})]

    def picture(self, file):
        size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 4000), "scale": 1}
        shot = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        with open(file, "wb") as out:
            out.write(base64.b64decode(shot["data"]))

    def close(self):
        ask("DELETE", self.path)


def main():
    failures = 0
    for screen, width, height, phone in SCREENS:
        browser = Browser(width, height, phone)
        try:
            for name, url, parts in PAGES:
                for scheme in ("light", "dark"):
                    looked = browser.open(url, scheme)
                    wrong = looked["wrong"]
                    for part in parts:
                        if not any(one in looked["text"] for one in part.split("|")):
                            wrong.append(f"{part!r} is not in {looked['text'][:2000]!r}")
                    if (looked["ground"] < 0.2) != (scheme == "dark"):
                        wrong.append(f"it is not {scheme}")
                    # A page that explains why there is nothing else has a status that says so.
                    wrong += [said for said in browser.said() if "404 (Not Found)" not in said]
                    file = f"{PICTURES}/{name}-{screen}-{scheme}.png"
                    browser.picture(file)
                    failures += len(wrong)
                    print(f"{file}: {'as it should be' if not wrong else ''}")
                    for what in wrong:
                        print(f"    {what}")
        finally:
            browser.close()
    sys.exit(f"browse.py: {failures} things are wrong" if failures else 0)


main()
