"""Registers the readers and writers of motion files and the skeletons for retargeting of this package."""

from __future__ import annotations

from pathlib import Path

from mimickit_hydra.plugins import Plugin

_SKELETONS = ("smpl", "lafan1", "cmu", "g1", "h1", "t1", "humanoid")

# name: (module and reader, what recognises a file, suffixes, title)
_IMPORTERS = {
    "lafan1": ("robot_csv:read_robot_csv", "robot_csv:is_robot_csv", (".csv",), "table of a robot (LAFAN1, BONES)"),
    "gmr": ("gmr:read_gmr", "gmr:is_gmr", (".pkl",), "GMR clip of a robot"),
    "phc": ("phc:read_phc", "phc:is_phc", (".pkl",), "PHC clips (joblib)"),
    "mjlab": ("mjlab:read_mjlab", "mjlab:is_mjlab", (".npz",), "mjlab or BeyondMimic clip of a robot"),
    "isaaclab_amp": ("isaaclab_amp:read_isaaclab_amp", "isaaclab_amp:is_isaaclab_amp", (".npz",), "Isaac Lab AMP clip"),
    "loco_mujoco": ("loco_mujoco:read_loco_mujoco", "loco_mujoco:is_loco_mujoco", (".npz",), "LocoMuJoCo trajectory"),
    "amass": ("amass:read_amass", "amass:is_amass", (".npz",), "AMASS or SMPL motion of a human"),
    "protomotions": ("protomotions:read_protomotions", "", (".motion",), "ProtoMotions clip of a robot"),
    "poselib": ("poselib:read_poselib", "", (".npy",), "poselib SkeletonMotion"),
    "bvh": ("bvh:read_bvh", "", (".bvh",), "BVH motion of a human"),
    "quadruped": ("quadruped:read_quadruped", "quadruped:is_quadruped", (".txt", ".json"), "Laikago or AMP clip"),
    "deepmimic": ("deepmimic:read_deepmimic", "", (".txt", ".json"), "DeepMimic text clip"),
}


def register(plugin: Plugin) -> None:
    clip = "mimickit_hydra.motion.clip:load_clip"
    plugin.importer("npz", clip, suffixes=(".npz",), title="clip of this project")
    plugin.importer("mimickit", clip, suffixes=(".pkl",), title="MimicKit clip")
    out = "mimickit_hydra.motion.export:"
    plugin.exporter("csv", f"{out}write_csv", suffix=".csv", title="table as of LAFAN1")
    plugin.exporter("mjlab_npz", f"{out}write_mjlab", suffix=".npz", title="clip for mjlab")
    plugin.exporter("mimickit_pkl", f"{out}write_mimickit", suffix=".pkl", title="MimicKit clip")
    here = "mimickit_hydra.motion.importers."
    for name, (reader, knows, suffixes, title) in _IMPORTERS.items():
        plugin.importer(name, here + reader, suffixes=suffixes, title=title, knows=here + knows if knows else "")
    for name in _SKELETONS:
        plugin.skeleton(name, Path(__file__).parents[1] / "data" / "retarget" / f"{name}.yaml")
