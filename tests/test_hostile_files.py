# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A file is data: it starts no program, opens no connection, reads no other file and takes what limits allow."""

import dataclasses
import http.server
import io
import math
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from small_media import sound_bytes

from mixture_of_transformers import MoTProcessor, resampling_mot
from mixture_of_transformers import fetching_mot as fetching
from mixture_of_transformers.decoding_audio_mot import load_audio
from mixture_of_transformers.decoding_container_mot import CONTAINER_FORMATS, has_sound
from mixture_of_transformers.decoding_image_mot import PICTURE_FORMATS, check_image, load_image
from mixture_of_transformers.decoding_mot import DecodingLimits
from mixture_of_transformers.decoding_video_mot import load_frames
from mixture_of_transformers.resampling_mot import resample, resample_pieces

ROOT = Path(fetching.__file__).parent
RATE = 16_000


def write_video(file, kind="mp4", size=(64, 48), greys=range(0, 200, 20), sound=False):
    with av.open(file, "w", format=kind) as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        track = container.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for grey in greys:
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), grey, np.uint8), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if track:
            samples = av.AudioFrame.from_ndarray(tone(5)[None], format="fltp", layout="mono")
            samples.sample_rate = RATE
            container.mux([*track.encode(samples), *track.encode(None)])
    return file


def video_bytes(**options):
    buffer = io.BytesIO()
    write_video(buffer, **options)
    return buffer.getvalue()


def tone(seconds=1.0, rate=RATE):
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def picture_bytes(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Answers /slow and /slow_head a byte at a time, /endless for ever, /to=URL by leading there, else a picture."""

    daemon_threads = True

    def __init__(self, host="127.0.0.1"):
        self.hits = []
        super().__init__((host, 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://{host}:{self.server_port}"

    def handle_error(self, *arguments):  # visitors hang up
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.hits.append(self.path)
        if self.path == "/slow_head":
            self.trickle()
        elif self.path.startswith("/to="):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
        else:
            self.send_response(200)
            self.end_headers()
            if self.path == "/slow":
                self.trickle()
            while self.path == "/endless":
                self.wfile.write(bytes(2**16))
            self.wfile.write(picture_bytes(Image.new("RGB", (8, 8), (9, 9, 9))))

    def trickle(self):
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.1)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as running:
        yield running
        running.shutdown()


# ---------------------------------------------------------------------------------------------------------------------
# Nothing but the file
# ---------------------------------------------------------------------------------------------------------------------
def playlist(target):
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\n{target}\n#EXT-X-ENDLIST\n".encode()


SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 45678 RTP/AVP 96\r\n"
    b"a=rtpmap:96 H264/90000\r\n"
)
MANIFEST = b"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>%s</BaseURL><SegmentList>
<SegmentURL media="a.mp4"/></SegmentList></Representation>
</AdaptationSet></Period></MPD>"""


@pytest.mark.parametrize("kind", ["HLS", "HLS of a file", "concat", "SDP", "DASH"])
@pytest.mark.parametrize("suffix", ["mp4", "m3u8", None])  # None: as bytes
def test_a_file_that_names_other_files_or_servers_is_not_followed(kind, suffix, tmp_path, server):
    other = write_video(str(tmp_path / "other.ts"), kind="mpegts")
    content = {
        "HLS": playlist(server.url + "/a.ts"),
        "HLS of a file": playlist(f"file://{other}"),
        "concat": b"ffconcat version 1.0\nfile other.ts\n",
        "SDP": SDP,
        "DASH": MANIFEST % (server.url.encode() + b"/"),
    }[kind]
    source = content
    if suffix:
        source = tmp_path / f"upload.{suffix}"
        source.write_bytes(content)
    start = time.time()
    with pytest.raises(ValueError, match=r"^clip is not a video that can be decoded"):
        load_frames(source, "clip", 8, None)
    with pytest.raises(ValueError, match=r"^clip is not audio that can be decoded"):
        load_audio(source, "clip", RATE, None)
    assert not has_sound(source, "clip")
    assert not server.hits and time.time() - start < 10


def test_every_container_and_picture_format_that_is_read_keeps_to_its_file():
    """Names that FFmpeg and PIL know, and none of those that open something else."""
    known = {part for name in av.formats_available for part in name.split(",")}
    assert set(CONTAINER_FORMATS) <= known
    opening = {"hls", "dash", "concat", "sdp", "rtsp", "rtp", "image2", "lavfi", "applehttp", "sap", "imf", "tee"}
    assert not opening & set(CONTAINER_FORMATS)
    assert not {"EPS", "WMF", "PDF", "GRIB", "HDF5", "IPTC", "MPEG"} & set(PICTURE_FORMATS)


def test_a_picture_starts_no_program(tmp_path, monkeypatch):
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "photo.png").write_bytes(content)
    for source in (content, tmp_path / "photo.png"):
        with pytest.raises(ValueError, match="photo is not a picture .* of no format that is read"):
            load_image(source, "photo", convert_rgb=True)
    assert not (tmp_path / "ran").exists()


def test_a_file_is_judged_by_its_content_whatever_its_name(tmp_path):
    contents = {
        "picture": picture_bytes(Image.new("RGB", (8, 8), (200, 30, 30))),
        "sound": sound_bytes(tone()),
        "video": video_bytes(sound=True),
    }
    for suffix in ("", ".eps", ".raw", ".sd2", ".m3u8", ".sdp", ".txt", ".wav"):
        for name, content in contents.items():
            (tmp_path / (name + suffix)).write_bytes(content)
        picture = load_image(tmp_path / f"picture{suffix}", "picture", convert_rgb=True)
        assert picture.getpixel((0, 0)) == (200, 30, 30)
        assert np.allclose(load_audio(tmp_path / f"sound{suffix}", "sound", RATE, None)[0], tone(), atol=1e-4)
        assert len(load_frames(tmp_path / f"video{suffix}", "video", None, None)[0]) == 10
        assert has_sound(tmp_path / f"video{suffix}", "video")


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_refused_and_not_waited_for(kind, tmp_path):
    path = tmp_path / "x"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    for load in (lambda p: load_image(p, "photo", True), lambda p: load_audio(p, "photo", RATE, None)):
        with pytest.raises(OSError, match=r"^photo: cannot open '.*': it is no file"):
            load("/dev/zero" if kind == "device" else path)


def test_files_are_opened_and_fetched_in_one_place():
    """Whatever another module needs decoded goes through the rooms where the lists and the limits are."""
    opening = {
        "decoding_image_mot.py": r"\b(?:PIL)?Image\.open\(",
        "decoding_container_mot.py": r"av(?:\(\))?\.open\(",
        "decoding_audio_mot.py": r"\bsoundfile\.(?:read|SoundFile|blocks)\(",
    }
    texts = {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("*.py")}
    for room, pattern in opening.items():
        assert {name for name, text in texts.items() if re.search(pattern, text)} == {room}
    assert not any("urlopen(" in text for text in texts.values())


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------
def png_head(width, height):
    """A PNG that ends where its pixels would begin."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # PIL's own, on the way
def test_a_picture_beyond_the_limit_is_refused_before_it_is_decoded():
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(
        ValueError, match=r"^photo has 20000 x 6000 pixels, more than the limit of 100,000,000.*DecodingLimits\("
    ):
        load_image(png_head(20000, 6000) + idat, "photo", convert_rgb=True)
    with pytest.raises(ValueError, match=r"^photo has too many pixels.*PIL.Image.MAX_IMAGE_PIXELS"):
        load_image(png_head(60000, 60000) + idat, "photo", convert_rgb=True)
    small = picture_bytes(Image.new("RGB", (20, 20)))
    with pytest.raises(ValueError, match="photo has 20 x 20 pixels, more than the limit of 399"):
        load_image(small, "photo", True, limits=DecodingLimits(max_image_pixels=399))
    assert load_image(small, "photo", True, limits=DecodingLimits(max_image_pixels=400)).size == (20, 20)


def test_a_tile_beyond_the_limit_is_refused_though_the_picture_is_small():
    content = bytearray(picture_bytes(Image.new("L", (32, 32)), "TIFF"))
    image = Image.open(io.BytesIO(content))
    image.tag_v2[322], image.tag_v2[323] = 60000, 60000
    with pytest.raises(ValueError, match="photo has tiles of 60000 x 60000 pixels"):
        check_image(image, "photo", DecodingLimits())


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded():
    """A hundred bytes make a scan, which goes over all pixels: a megabyte of them would take minutes."""
    usual = picture_bytes(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    load_image(usual, "photo", convert_rgb=True)
    last = usual[usual.rfind(b"\xff\xda") : -2]
    comment = b"\xff\xfe\x00\x04\xff\xd9"  # which holds what elsewhere ends the file
    with pytest.raises(ValueError, match=r"^photo has 1,010 scans.*more than the limit of 100"):
        load_image(usual[:-2] + (comment + last) * 1000 + usual[-2:], "photo", convert_rgb=True)
    motion_photo = usual + last * 1000  # what follows the picture is none of it
    assert load_image(motion_photo, "photo", convert_rgb=True).size == (64, 64)


def gradient(mode):
    rows, columns = np.mgrid[0:96, 0:128]
    rgba = np.dstack([rows * 2, columns, rows + columns, np.full_like(rows, 255)]).astype(np.uint8)
    image = Image.fromarray(rgba)
    if mode == "I;16":
        return Image.fromarray(rows.astype(np.uint16) * 600)
    return image.convert("RGB").convert(mode) if mode != "RGBA" else image


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *[("RGB", kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP")],
        *[(mode, "PNG") for mode in ("L", "RGBA", "P", "1", "I;16")],
        ("CMYK", "JPEG"),
    ],
)
def test_a_large_picture_is_the_same_picture_smaller(mode, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if kind == "BMP" else {"exif": exif}
    content = picture_bytes(gradient(mode), kind, **options)
    whole = load_image(content, "photo", convert_rgb=True)
    kept = load_image(content, "photo", True, limits=DecodingLimits(max_kept_image_pixels=128 * 96 / 4))
    assert kept.size == (whole.width // 2, whole.height // 2)
    difference = np.asarray(kept).astype(float) - np.asarray(whole.reduce(2)).astype(float)
    assert np.abs(difference).mean() < (3 if kind == "JPEG" else 1.5)


def test_a_picture_of_the_caller_is_left_as_it_is():
    image = Image.open(io.BytesIO(picture_bytes(gradient("RGB"), "JPEG")))
    load_image(image, "photo", True, limits=DecodingLimits(max_kept_image_pixels=100))
    assert image.size == (128, 96)


def test_a_broken_picture_of_any_format_is_an_error_that_names_it():
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA", "JPEG2000", "AVIF", "QOI", "PCX"):
        content = picture_bytes(gradient("RGB"), kind)
        for _ in range(10):
            broken = bytearray(content[: rng.integers(1, len(content))])
            broken[rng.integers(len(broken))] = rng.integers(256)
            try:
                load_image(bytes(broken), "images[3]", convert_rgb=True)
            except ValueError as error:
                assert str(error).startswith("images[3] "), (kind, error)


# ---------------------------------------------------------------------------------------------------------------------
# Videos
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (DecodingLimits(max_frame_pixels=64 * 48 - 1), "frames of 64 x 48 pixels"),
        (DecodingLimits(max_video_frames=9), "10 frames"),
        (DecodingLimits(max_video_seconds=0.5), "1 seconds"),
        (DecodingLimits(max_video_pixels=5 * 64 * 48), "18,432 pixels in its first 6 frames"),
        (DecodingLimits(max_kept_video_pixels=3 * 64 * 48), "10 frames to keep, and 4 of them 12,288 pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_video_beyond_a_limit_is_refused(limits, message):
    content = video_bytes()
    with pytest.raises(ValueError, match=rf"^clip has {message}, more than the limit of .*DecodingLimits\("):
        load_frames(content, "clip", None, None, limits=limits)
    assert len(load_frames(content, "clip", None, None)[0]) == 10


def test_large_frames_are_shrunk_one_by_one():
    content = video_bytes(size=(128, 96), greys=[0, 100, 200])
    whole, times = load_frames(content, "clip", 3, None)
    kept, kept_times = load_frames(content, "clip", 3, None, limits=DecodingLimits(max_kept_frame_pixels=64 * 48))
    assert [frame.size for frame in kept] == [(64, 48)] * 3 and kept_times == times
    for large, small in zip(whole, kept):
        assert abs(np.asarray(large, float).mean() - np.asarray(small, float).mean()) < 1


# ---------------------------------------------------------------------------------------------------------------------
# Sound
# ---------------------------------------------------------------------------------------------------------------------
def test_what_lies_beyond_max_seconds_is_not_decoded():
    spoilt = np.concatenate([tone(2), np.full(RATE, np.nan)])
    content = sound_bytes(spoilt, subtype="FLOAT")
    with pytest.raises(ValueError, match="clip holds NaN"):
        load_audio(content, "clip", RATE, None)
    heard, _ = load_audio(content, "clip", RATE, None, max_seconds=1.5)
    assert np.array_equal(heard, tone(1.5))
    track = video_bytes(sound=True)
    whole, _ = load_audio(track, "clip", RATE, None)
    heard, _ = load_audio(track, "clip", RATE, None, max_seconds=1.5)
    assert len(whole) >= 5 * RATE and np.array_equal(heard, whole[: RATE * 3 // 2])


def test_longer_sound_than_the_limit_is_refused_unless_it_is_cut():
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 8000, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(700):
            file.write(np.zeros(10_000, np.int16))
    content = buffer.getvalue()
    limits = DecodingLimits(max_audio_seconds=600)
    with pytest.raises(
        ValueError, match=r"^clip has \d+ seconds of sound or more, more than the limit of 600.*max_audio"
    ):
        load_audio(content, "clip", RATE, None, limits=limits)
    heard, _ = load_audio(content, "clip", RATE, None, max_seconds=2, limits=limits)
    assert len(heard) == 2 * RATE


def test_what_the_head_of_a_sound_claims_is_not_believed():
    flac = bytearray(sound_bytes(tone(), kind="FLAC"))
    flac[21] |= 15  # of the 36 bits that count the samples
    flac[22:26] = b"\xff" * 4
    assert np.allclose(load_audio(bytes(flac), "clip", RATE, None)[0], tone(), atol=1e-4)
    slow = bytearray(sound_bytes(tone()))
    slow[24:28] = struct.pack("<I", 1)  # Hz
    with pytest.raises(ValueError, match="clip has 16,000 seconds of sound or more"):
        load_audio(bytes(slow), "clip", RATE, None)
    assert len(load_audio(bytes(slow), "clip", RATE, None, max_seconds=10)[0]) == 10 * RATE


def sinc(waveform, from_rate, to_rate):
    """The definition: each output is the sum of all inputs, weighted by the windowed sinc of their distance."""
    cutoff = 0.95 * min(1.0, to_rate / from_rate)
    half_width = math.ceil(32 / cutoff)
    times = np.arange(math.ceil(len(waveform) * to_rate / from_rate))[:, None] * from_rate / to_rate
    distance = np.arange(len(waveform)) - times
    inside = np.clip(1 - (distance / half_width) ** 2, 0, 1)
    window = np.where(np.abs(distance) <= half_width, np.i0(10 * np.sqrt(inside)) / np.i0(10), 0)
    return (waveform * cutoff * np.sinc(cutoff * distance) * window).sum(1)


@pytest.mark.parametrize(("rate", "samples"), [(1, 2), (50, 9), (15_999, 701), (1_000_003, 3000), (2**31, 3000)])
def test_sound_of_any_rate_is_resampled_as_defined(rate, samples):
    waveform = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    heard = resample(waveform, rate, RATE)
    assert len(heard) == math.ceil(samples * RATE / rate)
    np.testing.assert_allclose(heard, sinc(waveform, rate, RATE), atol=1e-4 if rate > 200_000 else 5e-6)


@pytest.mark.parametrize("rate", [8000, 15_999, 44_100, 48_000])
def test_resampling_piece_by_piece_is_resampling_the_whole(rate, monkeypatch):
    waveform = np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    whole = resample(waveform, rate, RATE)
    monkeypatch.setattr(resampling_mot, "SAMPLES_AT_ONCE", 3000)
    pieces = np.split(waveform, [1, 900, 907, 16_000, 30_000, 39_999])
    heard = list(resample_pieces(pieces, rate, RATE))
    assert len(heard) > 3
    np.testing.assert_allclose(np.concatenate(heard), whole, atol=1e-5)


@pytest.mark.training
def test_a_long_sound_takes_bounded_memory(tmp_path):
    """A hundred million samples in 0.3 MB, in a process that may not hold them."""
    with soundfile.SoundFile(tmp_path / "silence.flac", "w", RATE, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(100):
            file.write(np.zeros(1_000_000, np.int16))
    code = """
import resource
from mixture_of_transformers.decoding_audio_mot import load_audio
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
try: load_audio("silence.flac", "clip", 16_000, None)
except ValueError as error: print(error)
refused = peak() - before
print(len(load_audio("silence.flac", "clip", 16_000, None, max_seconds=30)[0]), refused)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    error, answer = done.stdout.splitlines()
    samples, megabytes = answer.split()
    assert "seconds of sound or more" in error and int(samples) == 30 * RATE
    assert float(megabytes) < 350, done.stdout  # an hour at 16 kHz is 230 MB


# ---------------------------------------------------------------------------------------------------------------------
# URLs
# ---------------------------------------------------------------------------------------------------------------------
def test_a_url_is_followed_where_it_is_allowed_and_nowhere_else(server):
    url = server.url + "/a.png?token=secret"
    for load in (
        lambda **how: load_image(url, "row", True, **how),
        lambda **how: load_frames(url, "row", 8, None, **how),
        lambda **how: load_audio(url, "row", RATE, None, **how),
    ):
        with pytest.raises(ValueError, match=r"^row is the URL 'http://[^?]*/a.png', and URLs are not followed here"):
            load(allow_urls=False)
        with pytest.raises(OSError, match=r"^row: cannot read the URL 'http://[^?]*': its host is on this machine"):
            load(allow_urls="public")
    assert not server.hits
    assert load_image(url, "row", True).size == (8, 8) and server.hits == ["/a.png?token=secret"]
    with pytest.raises(ValueError, match="`allow_urls` is 'yes'"):
        load_image(url, "row", True, allow_urls="yes")


def test_the_processor_follows_urls_only_where_it_is_told_to(server):
    processor = MoTProcessor()
    with pytest.raises(ValueError, match=r"images\[0\] is the URL .* not followed"):
        processor(images=[{"bytes": None, "path": server.url}], allow_urls=False)
    assert not server.hits and processor(images=server.url)["pixel_values"].shape[0] == 1
    data = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    data += "RU5ErkJggg=="
    assert processor(images=data, allow_urls=False)["pixel_mask"].tolist() == [1]


def test_a_video_behind_a_url_that_is_refused_is_an_error_and_not_one_without_sound(server, tmp_path):
    with pytest.raises(ValueError, match=r"^clip is the URL '.*', and URLs are not followed here"):
        has_sound(server.url, "clip", allow_urls=False)
    with pytest.raises(OSError, match=r"^clip: cannot read the URL '.*': its host is on this machine"):
        has_sound(server.url, "clip", allow_urls="public")
    with pytest.raises(FileNotFoundError, match=r"^clip: there is no file at"):
        has_sound(tmp_path / "gone.mp4", "clip")
    assert not server.hits and not has_sound(server.url, "clip")  # a picture


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "240.0.0.1", "0.0.0.0"]
    + ["::1", "::", "fe80::1%1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"],
)
def test_addresses_of_this_machine_and_of_private_networks_are_not_public(address):
    assert not fetching.is_public(address)


def test_addresses_of_anybody_are_public():
    assert all(map(fetching.is_public, ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"]))


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
def test_a_private_address_in_any_spelling_is_refused(host, server):
    with pytest.raises(OSError, match="its host is on this machine|not known"):
        fetching.fetch(f"http://{host}:{server.server_port}/", 1e6, 10, public_only=True)
    assert not server.hits


def test_a_redirect_to_a_private_address_is_refused(server, monkeypatch):
    """127.0.0.1 plays the public server here, 127.0.0.2 the private one."""
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    with Server("127.0.0.2") as private:
        assert fetching.fetch(f"{server.url}/to={server.url}/a", 1e6, 10, public_only=True)
        with pytest.raises(OSError, match="its host is on this machine"):
            fetching.fetch(f"{server.url}/to={private.url}/a", 1e6, 10, public_only=True)
        assert not private.hits
        private.shutdown()


def test_the_address_that_was_checked_is_the_one_connected_to(server, monkeypatch):
    """A name server that answers with a public address first and a private one after that gains nothing."""
    answers = iter(["127.0.0.1", "127.0.0.2", "127.0.0.2"])
    lookup = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **how: lookup(next(answers), *rest, **how))
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    assert fetching.fetch(f"http://rebind.test:{server.server_port}/a", 1e6, 10, public_only=True)
    assert next(answers) == "127.0.0.2" and server.hits == ["/a"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:text/plain,a", "gopher://a"])
def test_a_redirect_leads_to_http_or_nowhere(target, server):
    with pytest.raises(OSError, match="redirect|Redirect|unknown url type"):
        fetching.fetch(f"{server.url}/to={target}", 1e6, 10)


@pytest.mark.parametrize("path", ["/slow", "/slow_head", "/endless"])
def test_a_server_holds_nobody_longer_than_the_limits(path, server):
    start = time.time()
    limits = DecodingLimits(max_url_bytes=10 * 2**20, max_url_seconds=1)
    with pytest.raises(OSError, match=r"^photo: cannot read the URL .* (longer than 1 seconds|more than 10,485,760)"):
        load_image(server.url + path, "photo", True, limits=limits)
    assert time.time() - start < 5


def test_a_password_in_a_url_is_not_shown():
    with pytest.raises(OSError) as caught:
        load_image("http://me:secret@localhost:1/a?key=secret", "photo", True)
    assert "secret" not in str(caught.value) and "user name or a password" in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# Limits
# ---------------------------------------------------------------------------------------------------------------------
def test_every_limit_is_a_number_above_zero_and_stands_in_the_docs():
    docs = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(DecodingLimits):
        assert f"`{field.name}`" in docs
        assert getattr(DecodingLimits(**{field.name: math.inf}), field.name) == math.inf
        for bad in (0, -1, math.nan, True, "1", None):
            with pytest.raises(ValueError, match=rf"`{field.name}` is {bad!r}"):
                DecodingLimits(**{field.name: bad})


def test_limits_belong_to_the_process_and_not_to_a_checkpoint(tmp_path):
    processor = MoTProcessor()
    processor.limits = DecodingLimits(max_image_pixels=10)
    with pytest.raises(ValueError, match=r"images\[0\] has 8 x 8 pixels, more than the limit of 10"):
        processor(images=Image.new("RGB", (8, 8)))
    processor.save_pretrained(tmp_path)
    assert MoTProcessor.from_pretrained(tmp_path).limits == DecodingLimits()


def test_sound_that_is_cut_gives_the_frames_of_its_beginning():
    processor, long = MoTProcessor(), np.concatenate([0.5 * tone(2), tone(2)])
    cut = processor(audio=sound_bytes(long), max_audio_seconds=1.5)
    alone = processor(audio=sound_bytes(long[: RATE * 3 // 2 + 321]))
    assert cut["input_features"].shape == (1, 150, 80) and cut["input_features_mask"].all()
    assert torch.equal(cut["input_features"], alone["input_features"][:, :150])
    short = processor(audio=sound_bytes(tone()), max_audio_seconds=30)
    assert torch.equal(short["input_features"], processor(audio=sound_bytes(tone()))["input_features"])
