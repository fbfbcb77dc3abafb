"""The report in a browser: what is drawn, clicked, typed and read there.

Needs Chromium and its driver (Debian: ``apt install chromium chromium-driver``), and is skipped
where there is none.
"""

import shutil

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.cases.reports import IMAGES, NAME, SHAPE, estimated, scales

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER),
                                reason="chromium or chromedriver is not installed")


@pytest.fixture(scope="module")
def driver():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900",
                 "--disable-background-networking", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, Service(DRIVER))
    yield started
    started.quit()


@pytest.fixture
def browser(driver, path):
    """The page, freshly opened; nothing may have gone wrong in it at the end."""
    driver.set_window_size(1280, 900)
    driver.get(path.as_uri())
    drawn(driver)
    yield driver
    assert driver.get_log("browser") == []


def drawn(driver):
    """Wait for the figures, which are drawn when their width is known."""
    WebDriverWait(driver, 10, 0.02).until(lambda _: css(driver, "#designs path.hit"))


def css(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def cells(browser, table, column):
    return [cell.text for cell in css(browser, f"#{table} tbody td:nth-child({column})")]


def numbers(texts):
    return [float(text.replace(",", "")) for text in texts]


def spans(browser):
    """How many spans of units the timeline shows."""
    return browser.execute_script(
        "return document.querySelector('#timeline svg').querySelectorAll('rect.hit').length")


def test_sections_have_figures(browser):
    assert [link.text for link in css(browser, "#sections a")] == [
        "Runs", "Summary", "Timeline", "Roofline", "Traffic", "Energy", "Layers", "Scales",
        "Designs"]
    result = estimated()
    assert f"{result.cycles:,}" in css(browser, "#summary")[0].text
    tracks = css(browser, "#timeline svg")[0]
    assert len(tracks.find_elements(By.CSS_SELECTOR, "rect.hit")) > 3 * len(result.costs)
    assert len(css(browser, "#timeline svg:nth-of-type(2) rect.hit")) == len(result.program.tensors)
    assert len(css(browser, "#roofline circle")) == 7
    assert len(css(browser, "#energy rect.hit")) == 4 * 5
    assert css(browser, "h1")[0].text == "A <title>"
    assert NAME in css(browser, "#summary .note")[0].text


def test_a_heading_sorts_and_a_word_filters(browser):
    heading = css(browser, "#layer-table th:nth-child(5) button")[0]
    before = numbers(cells(browser, "layer-table", 5))
    heading.click()
    assert numbers(cells(browser, "layer-table", 5)) == sorted(before, reverse=True)
    assert css(browser, "#layer-table th:nth-child(5)")[0].get_attribute("aria-sort") == (
        "descending")
    heading = css(browser, "#layer-table th:nth-child(5) button")[0]
    heading.send_keys(Keys.ENTER)
    assert numbers(cells(browser, "layer-table", 5)) == sorted(before)
    css(browser, "#layer-filter")[0].send_keys("gemm attn.qkv")
    assert set(cells(browser, "layer-table", 1)) == {"blocks.0.attn.qkv", "blocks.1.attn.qkv"}
    result = estimated()
    cycles = sum(row.cycles for row in result.costs if row.layer.endswith("attn.qkv"))
    assert f"6 rows, {cycles:,} cycles" in css(browser, "#layers .readout")[0].text


def test_the_timeline_zooms_moves_and_steps_by_keyboard(browser):
    view = css(browser, "#timeline-view")[0]
    everything = spans(browser)
    view.send_keys("+", "+", "+")
    inside = spans(browser)
    assert 0 < inside < everything
    view.send_keys(Keys.HOME)
    assert spans(browser) == everything
    view.send_keys(".", ".")
    result = estimated()
    first = result.costs[0].cycles
    said = css(browser, "#timeline .readout")[0].text
    assert said == f"#1 LOAD load (pos_embed): {result.costs[1].cycles:,} cycles from {first:,}"
    view.send_keys(",")
    assert css(browser, "#timeline .readout")[0].text.startswith("#0 SCALES")


def test_buttons_zoom_and_a_pointer_reads(browser):
    everything = spans(browser)
    css(browser, "#zoom-in")[0].click()
    css(browser, "#zoom-in")[0].click()
    assert spans(browser) < everything
    css(browser, "#zoom-all")[0].click()
    assert spans(browser) == everything
    span = max(css(browser, "#timeline svg rect.hit"), key=lambda one: one.size["width"])
    ActionChains(browser).move_to_element(span).perform()
    tip = css(browser, "#tip")[0]
    assert tip.is_displayed()
    assert " cycles from " in tip.text


def test_another_run_can_be_looked_at(browser):
    buttons = css(browser, ".runs button")
    assert [button.get_attribute("aria-pressed") for button in buttons] == [
        "true", "false", "false", "false"]
    jit, = (button for button in buttons if "jit" in button.text)
    jit.send_keys(Keys.ENTER)
    assert f"{estimated('w8a8', 'jit').cycles:,}" in css(browser, "#summary")[0].text
    assert "jit" in browser.switch_to.active_element.text
    assert "MEASURE" in cells(browser, "layer-table", 3)


def test_designs_are_picked_by_click_and_by_keyboard(browser):
    marks = css(browser, "#designs path.hit")
    assert len(marks) == 8
    ActionChains(browser).move_to_element(marks[-1]).click().perform()
    assert css(browser, "#design-readout")[0].text.startswith("small ")
    assert len(css(browser, "#designs path.on")) == 1
    view = css(browser, "#design-view")[0]
    for _ in marks:
        view.send_keys(Keys.SHIFT, Keys.ARROW_LEFT)
    first = css(browser, "#design-readout")[0].text
    assert first.startswith("small 4x8")
    assert css(browser, "#design-details")[0].text
    view.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    assert css(browser, "#design-readout")[0].text != first
    Select(css(browser, "#design-x")[0]).select_by_visible_text("mJ of a frame")
    assert css(browser, "#designs path.front")
    css(browser, "#only-meeting")[0].click()
    assert len(css(browser, "#designs path.hit")) == 6  # those with few enough LUTs


def methods(browser):
    """Methods whose scales are drawn."""
    return {line.get_attribute("data-method") for line in css(browser, "#scales line.spread")}


def test_scales_are_drawn_for_the_sites_and_methods_chosen(browser):
    assert f"{NAME} w4a4, {IMAGES} images, from accuracy" in css(browser, "#scales .note")[1].text
    assert methods(browser) == {"mse", "ridge", "oracle"}
    assert len(css(browser, "#scales path.median")) == 3 * SHAPE.depth
    marks = {path.get_attribute("d").count("L") for path in css(browser, "#scales path.median")}
    assert len(marks) == 3  # shapes, so that colour is not needed
    long = {line.get_attribute("data-method") for line in css(browser, "#scales line.spread")
            if line.get_attribute("x1") != line.get_attribute("x2")}
    assert long == {"ridge", "oracle"}
    css(browser, "#scale-mse")[0].click()
    css(browser, "#scale-lsq")[0].send_keys(Keys.SPACE)
    assert methods(browser) == {"lsq", "ridge", "oracle"}
    Select(css(browser, "#scale-kind")[0]).select_by_visible_text("all sites")
    assert len(css(browser, "#scales path.median")) == 3 * SHAPE.sites
    Select(css(browser, "#scale-kind")[0]).select_by_visible_text("head")
    for box in css(browser, "#scales input:checked"):
        box.click()
    assert methods(browser) == set()
    assert "No method is chosen" in css(browser, "#scales svg")[0].text


def test_scales_are_read_by_keyboard_and_in_a_table(browser):
    view, found = css(browser, "#scale-view")[0], {
        method: np.percentile(one / 1024, (5, 50, 95), axis=0) for method, one in scales().items()}
    view.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    site = SHAPE.site(1, "qkv")
    low, middle, high = (f"{value:.2f}".replace("-", "−") for value in found["oracle"][:, site])
    said = css(browser, "#scale-readout")[0].text
    assert said.startswith("1.qkv; ")
    assert f"{middle} ({low} to {high})" in said
    assert len(css(browser, "#scales rect.on")) == 1
    view.send_keys(Keys.ARROW_DOWN)  # there is no further one
    assert css(browser, "#scale-readout")[0].text == said
    css(browser, "#scales summary")[0].click()
    assert middle in cells(browser, "scale-table", 4)
    css(browser, "#scale-relative")[0].click()
    shown = [float(text.replace("−", "-")) for text in cells(browser, "scale-table", 4)]
    assert shown[1] == shown[4] == 0  # of the oracle itself
    assert shown[0] == pytest.approx(found["mse"][1, 0] - found["oracle"][1, 0], abs=.006)


def test_it_is_dark_where_that_is_wanted(browser):
    def paper():
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    assert paper() == "rgb(255, 255, 255)"
    css(browser, "#theme")[0].click()
    assert paper() == "rgb(22, 24, 27)"
    css(browser, "#theme")[0].click()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    WebDriverWait(browser, 5).until(lambda _: paper() == "rgb(22, 24, 27)")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_nothing_is_wider_than_a_phone(browser):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    figures = [figure.size["width"] for figure in css(browser, "section svg")]
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide == 390
    assert min(figures) > 300


def test_all_that_can_be_used_is_reached_by_tab(browser):
    reached = set()
    for _ in range(90):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.add(browser.switch_to.active_element.get_attribute("id"))
    assert {"theme", "timeline-view", "zoom-in", "layer-filter", "scale-of", "scale-kind",
            "scale-mse", "scale-view", "design-view", "design-x", "only-meeting"} <= reached
