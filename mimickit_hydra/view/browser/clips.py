"""Shows clips as they are, and a character at rest."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import edit
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.check import OK, SERIOUS, WARNING, Finding, check_clip
from mimickit_hydra.motion.clip import LoopMode, MotionClip, save_clip
from mimickit_hydra.motion.geometry import SupportPoints
from mimickit_hydra.motion.library import MotionFrame, MotionLibrary
from mimickit_hydra.view.browser.frame import CHARACTER, REFERENCE, Frame
from mimickit_hydra.view.browser.look import read_look
from mimickit_hydra.view.browser.show import Show

NOTHING = "nothing"
# what can be done to a clip in the page, and the numbers that it takes
ACTIONS = {
    "cut": ("from (s)", "to (s)"), "mirror": (), "resample": ("rate (Hz)",), "ground": (), "smooth": ("cutoff (Hz)",),
}  # fmt: skip
OVER = 0.6  # s that the last pose of a clip is held before it starts again


class ClipShow(Show):
    """Clips of one character, each read when it is chosen, with what a check finds in it; they can be edited.

    The ghost is another clip, or the one that was edited as it was before.
    """

    other = "other clip"
    beside = True

    def __init__(
        self, character: CharacterModel, char_file: Path, names: Sequence[str], read: Callable[[int], MotionClip],
        pairs: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """``read(number)`` gives the clip of a name; ``pairs`` are bodies that are each other's mirror image."""
        self.character = character
        look = read_look(char_file)
        self.actors = {CHARACTER: look, REFERENCE: look}
        self.clips = list(names)
        self.dof_names = character.dof_columns()
        self._read, self._pairs = read, pairs
        self._frame: Frame | None = None
        self._points = SupportPoints(character)
        self._compared: MotionLibrary | None = None
        self._findings: Any = None
        self._path: Any = None
        self.restart(0, 0.0)

    def restart(self, clip: int, time: float) -> None:
        self.clip = clip
        self.put(self._read(clip))
        self.seek(time)
        if self._path is not None:
            self._path.value = f"{self.title}_edited.npz"

    def put(self, motion: MotionClip) -> None:
        """Show ``motion`` in the place of the present clip. UserError for one that is not of the character."""
        self.library = MotionLibrary([motion], [1.0], self.character)
        self.motion = motion
        self.title, self.length, self.dt = motion.name, motion.length, 1.0 / motion.fps
        self.seek(0.0)
        if self._findings is not None:
            self._findings.content = self.timeline()

    def compare(self, motion: MotionClip | None) -> None:
        """Show ``motion`` as the ghost, at the same time."""
        self._compared = None if motion is None else MotionLibrary([motion], [1.0], self.character)
        self._frame = None

    def edit(self, action: str, *values: float) -> None:
        """Show what one of the operations of :mod:`.motion.edit` makes of the clip, and the clip as the ghost."""
        before = self.motion
        if action == "cut":
            edited = edit.cut(before, *values)
        elif action == "mirror":
            edited = edit.mirror(before, self.character, self._pairs)
        else:
            operation: Callable[..., MotionClip] = getattr(edit, action)
            edited = operation(before, self.character, *values)
        self.put(edited)
        self.compare(before)

    def save(self, path: str) -> str:
        """Write the clip as ``.npz``; returns the line that says so. UserError as :func:`.clip.save_clip`."""
        target = Path(path).expanduser()
        save_clip(target, dataclasses.replace(self.motion, name=target.stem))
        return f"{target}: {self.motion.num_frames} frames at {self.motion.fps:g} Hz, {self.motion.length:.2f} s"

    def timeline(self) -> str:
        """The findings of a check over the time of the clip, in HTML."""
        report = check_clip(self.motion, self.character, self._points)
        return "".join(_row(finding, report.frames) for finding in report.findings)

    # ---------------------------------------------------------------------------------------------------------- motion

    def advance(self, seconds: float) -> None:
        end = self.length if self.motion.loop_mode is LoopMode.WRAP else self.length + OVER
        self.seek(self._time + seconds if self._time + seconds <= end else 0.0)

    def step(self) -> None:
        self.seek(self._time + self.dt if self._time < self.length - 1e-6 else 0.0)

    def seek(self, time: float) -> None:
        self._time, self._frame = time, None

    def frame(self) -> Frame:
        if self._frame is None:
            self._frame = self._frame_at(min(self._time, self.length))
        return self._frame

    def _frame_at(self, time: float) -> Frame:
        pose, body_pos, body_rot = self._pose(self.library, time)
        poses = {CHARACTER: (body_pos[0].numpy(), body_rot[0].numpy())}
        if self._compared is not None:
            _, *other = self._pose(self._compared, min(time, float(self._compared.lengths[0])))
            poses[REFERENCE] = (other[0][0].numpy(), other[1][0].numpy())
        lowest = float(self._points.lowest(body_pos, body_rot)[..., 2].min()) if len(self._points) else 0.0
        return Frame(
            time,
            poses,
            title=self.title,
            bars=lambda: {
                "speed (m/s)": float(pose.root_vel.norm()),
                "height of the root (m)": float(pose.root_pos[0, 2]),
                "lowest point (m)": lowest,
            },
            curves={
                "joints (rad)": self.character.rot_to_dof(pose.joint_rot)[0].numpy(),
                "speeds (rad/s)": pose.dof_vel[0].numpy(),
            },
        )

    def _pose(self, library: MotionLibrary, time: float) -> tuple[MotionFrame, Tensor, Tensor]:
        """The pose at a time; the last one at the end of a clip that repeats."""
        now = torch.tensor([np.nextafter(np.float32(time), np.float32(0))])
        pose = library.query(torch.zeros(1, dtype=torch.long), now)
        return pose, *self.character.forward_kinematics(pose.root_pos, pose.root_rot, pose.joint_rot)

    # -------------------------------------------------------------------------------------------------------- controls

    def add_controls(self, panel: Any) -> None:
        gui = panel.gui
        with gui.add_folder("check"):
            self._findings = gui.add_html(self.timeline())
        if len(self.clips) > 1:
            beside = gui.add_dropdown("beside", (NOTHING, *self.clips), NOTHING)
            panel.on_value(beside, lambda name: self.compare(self._clip_of(name)))
        with gui.add_folder("edit", expand_by_default=False):
            numbers = {
                name: gui.add_number(name, value, min=0.0, step=0.01)
                for name, value in (("from (s)", 0.0), ("to (s)", 1e3), ("rate (Hz)", 30.0), ("cutoff (Hz)", 8.0))
            }
            actions = gui.add_button_group("", tuple(ACTIONS))
            before = gui.add_button("as it was")
            path = self._path = gui.add_text("file", f"{self.title}_edited.npz")
            save = gui.add_button("save")
            said = gui.add_markdown("")

        def tell(act: Callable[[], str]) -> None:
            try:
                said.content = act()
            except UserError as error:
                said.content = f"**{error}**"
            panel.refit()

        def edited(action: str) -> str:
            self.edit(action, *(float(numbers[name].value) for name in ACTIONS[action]))
            return f"{action}: {self.motion.num_frames} frames at {self.motion.fps:g} Hz"

        panel.on_value(actions, lambda action: tell(lambda: edited(action)))
        panel.on_click(before, lambda: tell(self._undo))
        panel.on_click(save, lambda: tell(lambda: self.save(path.value)))

    def _undo(self) -> str:
        self.compare(None)
        self.put(self._read(self.clip))
        return ""

    def _clip_of(self, name: str) -> MotionClip | None:
        return None if name == NOTHING else self._read(self.clips.index(name))


def _row(finding: Finding, frames: int) -> str:
    """A finding as a strip of the clip's time, with marks where it is, and its text."""
    color = {OK: "#3a9d5d", WARNING: "#d9a12b", SERIOUS: "#c23b3b"}[finding.status]
    shown = finding.frames if finding.status != OK else []
    marks = "".join(
        f'<rect x="{100 * frame / frames:.3f}" y="0" width="{max(0.6, 100 / frames):.3f}" height="8" fill="{color}"/>'
        for frame in shown
    )
    return (
        f'<div style="font:12px sans-serif;margin:3px 12px"><b style="color:{color}">{html.escape(finding.check)}</b> '
        f"{html.escape(finding.detail)}"
        '<svg viewBox="0 0 100 8" preserveAspectRatio="none" style="width:100%;height:8px;background:#e4e7eb">'
        f"{marks}</svg></div>"
    )


class PoseShow(Show):
    """A character in one pose, with a slider for each of its joints."""

    steered = False

    def __init__(self, character: CharacterModel, char_file: Path, pose: Sequence[float]) -> None:
        """``pose`` is empty or ``[6 + D]``, as ``character.init_pose``."""
        self.character = character
        self.actors = {CHARACTER: read_look(char_file)}
        self.title = character.name
        full = np.zeros(6 + character.num_dofs)
        full[: len(pose)] = pose
        self._pose, self._stated = full, len(pose) > 2
        self._frame: Frame | None = None

    def add_controls(self, panel: Any) -> None:
        low, high = (
            np.nan_to_num(limit, posinf=np.pi, neginf=-np.pi)
            for limit in (self.character.dof_low, self.character.dof_high)
        )
        with panel.gui.add_folder("joints (rad)"):
            for dof, name in enumerate(self.character.dof_columns()):
                value = float(self._pose[6 + dof])
                ends = min(float(low[dof]), value), max(float(high[dof]), value)
                slider = panel.gui.add_slider(name, *(round(end, 3) for end in ends), 0.001, round(value, 3))
                panel.on_value(slider, lambda value, dof=dof: self._turn(dof, value))

    def _turn(self, dof: int, value: float) -> None:
        self._pose[6 + dof], self._frame = value, None

    def frame(self) -> Frame:
        if self._frame is None:
            values = torch.tensor(self._pose, dtype=torch.float32)[None]
            root = rot.exp_map_to_quat(values[:, 3:6])
            joints = self.character.dof_to_rot(values[:, 6:])
            body_pos, body_rot = self.character.forward_kinematics(values[:, :3], root, joints)
            points = SupportPoints(self.character)
            lift = 0.0 if self._stated or not len(points) else -float(points.lowest(body_pos, body_rot)[..., 2].min())
            place = body_pos[0].numpy() + np.array([0.0, 0.0, lift])
            self._frame = Frame(0.0, {CHARACTER: (place, body_rot[0].numpy())}, points={"bodies": place})
        return self._frame
