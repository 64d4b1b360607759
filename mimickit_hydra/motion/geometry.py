"""The points of a character's colliding shapes that touch the ground first."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.mj import mujoco
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.mjcf import Source, load, meets_ground


class SupportPoints:
    """The lowest point of each shape of a character that meets the ground, whatever its kind; meshes as their hulls.

    ``P`` shapes: ``body [P]`` holds the index of each one's body. CPU only. A character without a file has none.
    """

    def __init__(self, character: CharacterModel) -> None:
        self._shapes: list[
            tuple[str, Tensor, Tensor, Tensor]
        ] = []  # kind, size or vertices, place and turn in the body
        bodies: list[int] = []
        if character.source is not None:
            source = load(character.source)
            place = {source.model.body(body.name).id: k for k, body in enumerate(source.bodies)}
            for geom in meets_ground(source):
                bodies.append(place[int(source.model.geom_bodyid[geom])])
                self._shapes.append(_shape(source, geom))
        self.body = torch.tensor(bodies, dtype=torch.long)

    def __len__(self) -> int:
        return len(self._shapes)

    def local(self, body_rot: Tensor) -> Tensor:
        """The lowest point of each shape in its body's frame, ``[T, P, 3]`` m, from rotations ``[T, B, 4]``."""
        down = torch.tensor([0.0, 0.0, -1.0])
        points = []
        for body, (kind, size, pos, turn) in zip(self.body.tolist(), self._shapes, strict=True):
            world = rot.quat_mul(body_rot[:, body], turn.expand(len(body_rot), 4))
            ahead = rot.quat_rotate_inv(world, down.expand(len(world), 3))
            points.append(pos + rot.quat_rotate(turn.expand(len(world), 4), _furthest(kind, size, ahead)))
        return torch.stack(points, dim=1)

    def lowest(self, body_pos: Tensor, body_rot: Tensor) -> Tensor:
        """World position ``[T, P, 3]`` of the lowest point of each shape, from body poses ``[T, B, 3 or 4]``."""
        return body_pos[:, self.body] + rot.quat_rotate(body_rot[:, self.body], self.local(body_rot))

    def moved(self, body_pos: Tensor, body_rot: Tensor) -> Tensor:
        """Where the material point that is lowest in frame i is in frame i + 1: ``[T - 1, P, 3]``."""
        return body_pos[1:, self.body] + rot.quat_rotate(body_rot[1:, self.body], self.local(body_rot[:-1]))


def lowest_heights(character: CharacterModel, root_pos: Tensor, root_rot: Tensor, joint_rot: Tensor) -> Tensor | None:
    """The height ``[T]`` m of the lowest point that can touch the ground, in poses ``[T, .]``; None where none can.

    On the CPU, wherever the poses are, and in pieces that stay in a processor's cache.
    """
    character = character.to("cpu")
    points = SupportPoints(character)
    if not len(points):
        return None
    found = []
    for pos, root, joints in zip(*(part.cpu().split(2048) for part in (root_pos, root_rot, joint_rot)), strict=True):
        found.append(points.lowest(*character.forward_kinematics(pos, root, joints))[..., 2].amin(dim=1))
    return torch.cat(found)


def _shape(source: Source, geom: int) -> tuple[str, Tensor, Tensor, Tensor]:
    model = source.model
    kind = mujoco.mjtGeom(int(model.geom_type[geom])).name[len("mjGEOM_") :].lower()
    size = _hull(model, int(model.geom_dataid[geom])) if kind == "mesh" else model.geom_size[geom]
    values = (size, model.geom_pos[geom], np.roll(model.geom_quat[geom], -1))
    size, pos, turn = (torch.tensor(np.asarray(value), dtype=torch.float32) for value in values)
    return kind, size, pos, turn


def _hull(model: mujoco.MjModel, mesh: int) -> np.ndarray:
    """The vertices ``[V, 3]`` of a mesh that can be lowest: those of its convex hull, where MuJoCo has made one."""
    vertices = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
    graph = int(model.mesh_graphadr[mesh])
    if graph < 0:
        return vertices
    count = int(model.mesh_graph[graph])  # then the number of faces, an address and an index for each vertex
    return vertices[model.mesh_graph[graph + 2 + count : graph + 2 + 2 * count]]


def _furthest(kind: str, size: Tensor, ahead: Tensor) -> Tensor:
    """The point of a shape furthest along unit vectors ``[T, 3]``, all in the shape's frame: ``[T, 3]``."""
    sides = torch.where(ahead < 0, -1.0, 1.0)
    if kind == "sphere":
        return size[0] * ahead
    if kind == "capsule":
        return size[0] * ahead + size[1] * sides * torch.tensor([0.0, 0.0, 1.0])
    if kind == "box":
        return sides * size
    if kind == "cylinder":
        across = torch.nn.functional.normalize(ahead[:, :2], dim=-1) * size[0]
        return torch.cat([across, size[1] * sides[:, 2:]], dim=-1)
    if kind == "ellipsoid":
        return size * torch.nn.functional.normalize(size * ahead, dim=-1)
    return torch.cat([size[(part @ size.T).argmax(dim=-1)] for part in ahead.split(256)])
