"""The emulated simulation: identical environments, stepped one after the other by one MuJoCo model.

What the simulation is lives in float32 arrays of the layout that the tensors have, and in nothing else: MuJoCo is
given these numbers before a step and asked for them after it, without warm start. So a state that was read and written
back continues to the bit, and contacts have no memory. Tensors show the arrays only when they are refreshed.
"""

import shutil
import tempfile
import xml.etree.ElementTree as ET

import mujoco
import numpy as np

from isaacgym._asset import dof_properties

_WIDTH = {"root": 13, "dof": 2, "body": 13, "contact": 3}
_BAD = [int(getattr(mujoco.mjtWarning, "mjWARN_" + name)) for name in ("BADQPOS", "BADQVEL", "BADQACC", "BADCTRL")]


class _Actor:
    def __init__(self, asset, pos, rot, group, bits):
        self.asset, self.group, self.bits = asset, group, bits
        self.start = np.concatenate([pos, rot, np.zeros(6)])
        self.properties = dof_properties(asset)


class _Place:
    """Where an actor's numbers are in MuJoCo's vectors and in the rows of an environment."""

    def __init__(self, model, name, asset, first_body, first_dof):
        self.asset = asset
        self.rows = slice(first_body, first_body + len(asset.body_names))
        self.dofs = slice(first_dof, first_dof + len(asset.dof_names))
        self.root = model.body(name + "/" + asset.body_names[0]).id
        self.fixed = bool(asset.options.fix_base_link)
        self.mocap = int(model.body_mocapid[self.root])
        self.com = model.body_ipos[self.root].copy()
        joint = int(model.body_jntadr[self.root])
        self.qpos = 0 if self.fixed else int(model.jnt_qposadr[joint])
        self.qvel = 0 if self.fixed else int(model.jnt_dofadr[joint])
        self._add_joints(model, name, first_dof)

    def _add_joints(self, model, name, row):
        """Rows of DoFs, and where their numbers are in ``qpos`` and ``qvel``."""
        hinges, balls, qvel = [], [], []
        for body, dim in zip(self.asset.body_names, self.asset.dims):
            if dim:
                joint = model.joint(name + "/" + body).id
                (balls if dim == 3 else hinges).append((row, int(model.jnt_qposadr[joint])))
                qvel += range(int(model.jnt_dofadr[joint]), int(model.jnt_dofadr[joint]) + dim)
                row += int(dim)
        self.dof_qvel = np.array(qvel, dtype=np.int64)
        self.hinge_rows, self.hinge_qpos = np.array(hinges, dtype=np.int64).reshape(-1, 2).T
        balls = np.array(balls, dtype=np.int64).reshape(-1, 2)
        self.ball_rows, self.ball_qpos = balls[:, :1] + np.arange(3), balls[:, 1:] + np.arange(4)


class World:
    def __init__(self, params):
        self.params = params
        self.ground = None
        self.envs = []
        self.model = None
        self._closed = False

    # -- building

    def check_alive(self):
        if self._closed:
            raise RuntimeError("this simulation was destroyed")

    def destroy(self):
        self._closed = True
        self.model = self.data = None

    def add_env(self):
        self._not_prepared()
        self.envs.append([])
        return len(self.envs) - 1

    def add_actor(self, env, asset, pos, rot, group, bits):
        self._not_prepared()
        if env != len(self.envs) - 1:
            raise RuntimeError("actors go into the newest environment")
        self.envs[env].append(_Actor(asset, pos, rot, group, bits))
        return len(self.envs[env]) - 1

    def actor(self, env, actor):
        return self.envs[env][actor]

    def actor_index(self, env, actor):
        return sum(len(actors) for actors in self.envs[:env]) + actor

    def set_dof_properties(self, env, actor, properties):
        found = self.envs[env][actor]
        if getattr(properties, "dtype", None) != found.properties.dtype or len(properties) != len(found.properties):
            raise TypeError("set_actor_dof_properties takes the array that get_actor_dof_properties returns")
        found.properties = properties.copy()
        return True

    def _not_prepared(self):
        if self.model is not None:
            raise RuntimeError("the simulation is prepared; nothing can be added")

    def _prepared(self):
        if self.model is None:
            raise RuntimeError("prepare_sim must come first")

    @property
    def num_actors(self):
        return sum(len(actors) for actors in self.envs)

    @property
    def num_dofs(self):
        return sum(len(actor.asset.dof_names) for actors in self.envs for actor in actors)

    @property
    def num_bodies(self):
        return sum(len(actor.asset.body_names) for actors in self.envs for actor in actors)

    def actors_with_dofs(self):
        flags = [bool(actor.asset.dof_names) for actors in self.envs for actor in actors]
        return np.flatnonzero(flags).astype(np.int32)

    def prepare(self):
        self._not_prepared()
        first = self.envs[0]
        for env, actors in enumerate(self.envs):
            for a, b in zip(actors, first):
                alike = a.asset is b.asset and a.bits == b.bits and (a.properties == b.properties).all()
                if not alike or (a.group == actors[0].group) != (b.group == first[0].group):
                    raise NotImplementedError("emulated isaacgym: environment {} differs from the first".format(env))
            if len(actors) != len(first):
                raise NotImplementedError("emulated isaacgym: environment {} differs from the first".format(env))
        self.model = self._compile(first)
        self.data = mujoco.MjData(self.model)
        self.places = []
        for k, actor in enumerate(first):
            body = self.places[-1].rows.stop if k else 0
            dof = self.places[-1].dofs.stop if k else 0
            self.places.append(_Place(self.model, "a{}".format(k), actor.asset, body, dof))
        self._allocate()

    def _allocate(self):
        n, last = len(self.envs), self.places[-1]
        self.sizes = {
            "root": len(self.places),
            "dof": last.dofs.stop,
            "body": last.rows.stop,
            "contact": last.rows.stop,
        }
        self.now = {key: np.zeros((n, rows, _WIDTH[key]), np.float32) for key, rows in self.sizes.items()}
        self.shown = {key: array.copy().reshape(-1, _WIDTH[key]) for key, array in self.now.items()}
        self.commands = {
            key: np.zeros((n, self.sizes["dof"]), np.float32) for key in ("position", "velocity", "effort")
        }
        self.wrench = np.zeros((n, self.sizes["body"], 6))
        self.written = {"root": set(), "dof": set()}
        self.waiting = []  # writes that a GPU pipeline carries out with the next step
        self.fetched = True
        for env, actors in enumerate(self.envs):
            for k, actor in enumerate(actors):
                self.now["root"][env, k] = actor.start
            self._show_bodies(env)

    def _compile(self, actors):
        folder = tempfile.mkdtemp(prefix="emulated_isaacgym_")
        try:
            return mujoco.MjModel.from_xml_string(self._scene(actors, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _scene(self, actors, folder):
        root = ET.Element("mujoco")
        ET.SubElement(root, "compiler", angle="radian")
        gravity = " ".join(repr(float(g)) for g in self.params.gravity._array())
        option = ET.SubElement(
            root, "option", timestep=repr(self.params.dt / self.params.substeps), gravity=gravity,
            integrator="implicitfast", solver="Newton", cone="pyramidal", iterations="100", ls_iterations="50",
            impratio="10", tolerance="1e-8",
        )  # fmt: skip
        ET.SubElement(option, "flag", warmstart="disable")
        assets, world = ET.SubElement(root, "asset"), ET.SubElement(root, "worldbody")
        if self.ground is not None:
            ET.SubElement(
                world, "geom", name="ground", type="plane", size="0 0 1", condim="3", contype="1",
                conaffinity="2147483647", friction="{} 0.005 0.0001".format(self.ground),
            )  # fmt: skip
        contacts, drives = ET.SubElement(root, "contact"), ET.SubElement(root, "actuator")
        for k, actor in enumerate(actors):
            name = "a{}".format(k)
            path, body = actor.asset.scene_xml(actor.properties, folder, name)
            ET.SubElement(assets, "model", name=name, file=path)
            ET.SubElement(ET.SubElement(world, "frame"), "attach", model=name, body=body, prefix=name + "/")
            self._add_drives(drives, name, actor)
        self._add_excludes(contacts, actors)
        return ET.tostring(root, encoding="unicode")

    def _add_drives(self, drives, name, actor):
        """Force = kp (target - q) + kd (velocity target - velocity), limited; efforts pass as they are."""
        dof = 0
        for body, dim in zip(actor.asset.body_names, actor.asset.dims):
            for axis in range(int(dim)):
                p = actor.properties[dof]
                kp, kd = float(p["stiffness"]), float(p["damping"])
                gain, bias = {1: (kp, (0, -kp, -kd)), 2: (kd, (0, 0, -kd))}.get(int(p["driveMode"]), (1.0, (0, 0, 0)))
                limit = float(p["effort"]) if int(p["driveMode"]) in (1, 2) else 1e9
                gear = ["0"] * 6
                gear[axis] = "1"
                ET.SubElement(
                    drives, "general", joint="{}/{}".format(name, body), gear=" ".join(gear), gainprm=repr(gain),
                    biastype="affine", biasprm=" ".join(repr(float(b)) for b in bias), ctrllimited="false",
                    forcelimited="true", forcerange="{!r} {!r}".format(-min(limit, 1e9), min(limit, 1e9)),
                )  # fmt: skip
                dof += 1

    def _add_excludes(self, contacts, actors):
        """Bodies collide in their group only, not where their filters share a bit, and never with their parents."""
        rows = [
            (k, index, "a{}/{}".format(k, body), actor)
            for k, actor in enumerate(actors)
            for index, body in enumerate(actor.asset.body_names)
        ]
        for row, (k, i, a, first) in enumerate(rows):
            for m, j, b, second in rows[row + 1 :]:
                related = k == m and first.asset.model.body_parentid[j + 1] == i + 1
                if first.group != second.group or first.bits & second.bits or related:
                    ET.SubElement(contacts, "exclude", body1=a, body2=b)

    # -- tensors

    def tensor(self, key):
        self._prepared()
        return self.shown[key]

    def refresh(self, key):
        self._prepared()
        if not self.fetched and not self.params.use_gpu_pipeline:
            raise RuntimeError("fetch_results must come between simulate and refresh on the CPU")
        self.shown[key][...] = self.now[key].reshape(-1, _WIDTH[key])
        return True

    def write(self, key, values, ids, count=None):
        self._prepared()
        if ids.dtype != np.int32:
            raise TypeError("actor indices must be int32, found {}".format(ids.dtype))
        if values.dtype != np.float32 or values.size != self.now[key].size:
            raise TypeError("a full float32 tensor of all {} states is needed".format(key))
        if count is not None and (count != ids.size or not count):
            raise ValueError("{} actor indices announced, {} given".format(count, ids.size))
        again = self.written[key] & set(ids.tolist())
        if again or len(set(ids.tolist())) != ids.size:
            raise RuntimeError("{} states of actors {} were set twice before simulate".format(key, sorted(again)))
        if key == "dof" and not set(ids.tolist()) <= set(self.actors_with_dofs().tolist()):
            raise RuntimeError("DoF states set for actors that have none")
        self.written[key] |= set(ids.tolist())
        if self.params.use_gpu_pipeline:
            self.waiting.append((key, values, ids))
        else:
            self._carry_out(key, values, ids)
        return True

    def _carry_out(self, key, values, ids):
        values = values.reshape(self.now[key].shape)
        for actor in ids:
            env, k = divmod(int(actor), len(self.places))
            where = k if key == "root" else self.places[k].dofs
            self.now[key][env, where] = values[env, where]

    def command(self, key, values):
        self._prepared()
        if values.dtype != np.float32 or values.size != self.commands[key].size:
            raise TypeError("a float32 tensor of all DoFs is needed")
        self.commands[key][...] = values.reshape(self.commands[key].shape)
        return True

    def force(self, forces, torques):
        self._prepared()
        for columns, values in ((slice(0, 3), forces), (slice(3, 6), torques)):
            if values is not None:
                if values.dtype != np.float32:
                    raise TypeError("forces must be float32")
                self.wrench[..., columns] = values.reshape(self.wrench.shape[0], -1, 3)
        return True

    # -- running

    def simulate(self):
        self._prepared()
        for key, values, ids in self.waiting:
            self._carry_out(key, values, ids)
        self.waiting.clear()
        for written in self.written.values():
            written.clear()
        for env in range(len(self.envs)):
            self._step(env)
        self.commands["effort"][...] = 0.0  # efforts and forces last for one step
        self.wrench[...] = 0.0
        self.fetched = False

    def fetch(self):
        self.fetched = True

    def _step(self, env):
        model, data = self.model, self.data
        given = [self.now["root"][env], self.now["dof"][env], *(c[env] for c in self.commands.values())]
        if not all(np.isfinite(part).all() for part in given):
            for array in self.now.values():
                array[env] = np.nan
            return
        self._load(env)
        data.xfrc_applied[1:] = self.wrench[env]
        data.ctrl[:] = self._controls(env)
        for w in _BAD:
            data.warning[w].number = 0  # MuJoCo itself sets them back when it restarts
        for _ in range(self.params.substeps):
            mujoco.mj_step(model, data)
        if any(data.warning[w].number for w in _BAD):
            for array in self.now.values():
                array[env] = np.nan
            return
        self._read_contacts(env)
        self._store(env)
        self._show_bodies(env)

    def _controls(self, env):
        modes = np.concatenate([actor.properties["driveMode"] for actor in self.envs[0]])
        table = np.stack([np.zeros_like(self.commands["effort"][env]), *(c[env] for c in self.commands.values())])
        return table[modes, np.arange(len(modes))] if len(modes) else np.zeros(0)

    def _load(self, env):
        data = self.data
        data.time = 0.0
        data.qacc_warmstart[:] = 0.0
        root, dof = self.now["root"][env].astype(np.float64), self.now["dof"][env].astype(np.float64)
        for k, place in enumerate(self.places):
            pos, (x, y, z, w), vel, omega = root[k, :3], root[k, 3:7], root[k, 7:10], root[k, 10:]
            quat = np.array([w, x, y, z]) / np.linalg.norm(root[k, 3:7])
            if place.fixed:
                data.mocap_pos[place.mocap], data.mocap_quat[place.mocap] = pos, quat
            else:
                data.qpos[place.qpos : place.qpos + 3], data.qpos[place.qpos + 3 : place.qpos + 7] = pos, quat
                arm = _rotate(quat, place.com)
                data.qvel[place.qvel : place.qvel + 3] = vel - _cross(omega, arm)
                data.qvel[place.qvel + 3 : place.qvel + 6] = _rotate(quat * [1, -1, -1, -1], omega)
            data.qpos[place.hinge_qpos] = dof[place.hinge_rows, 0]
            data.qpos[place.ball_qpos] = _exp_map_to_quat(dof[place.ball_rows, 0])
            data.qvel[place.dof_qvel] = dof[place.dofs, 1]

    def _store(self, env):
        data, root, dof = self.data, self.now["root"][env], self.now["dof"][env]
        for k, place in enumerate(self.places):
            if not place.fixed:
                pos, quat = data.qpos[place.qpos : place.qpos + 3], data.qpos[place.qpos + 3 : place.qpos + 7]
                omega = _rotate(quat, data.qvel[place.qvel + 3 : place.qvel + 6])
                com_vel = data.qvel[place.qvel : place.qvel + 3] + _cross(omega, _rotate(quat, place.com))
                root[k] = np.concatenate([pos, quat[[1, 2, 3, 0]], com_vel, omega])
            dof[place.hinge_rows, 0] = data.qpos[place.hinge_qpos]
            dof[place.ball_rows, 0] = _quat_to_exp_map(data.qpos[place.ball_qpos])
            dof[place.dofs, 1] = data.qvel[place.dof_qvel]

    def _show_bodies(self, env):
        """Body states of the numbers as they are kept."""
        model, data = self.model, self.data
        self._load(env)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        body, omega = self.now["body"][env], data.cvel[1:, :3]
        arm = data.xipos[1:] - data.subtree_com[model.body_rootid[1:]]
        body[:, 0:3], body[:, 3:7] = data.xpos[1:], data.xquat[1:][:, [1, 2, 3, 0]]
        body[:, 7:10], body[:, 10:13] = data.cvel[1:, 3:] + _cross(omega, arm), omega

    def _read_contacts(self, env):
        model, data, net = self.model, self.data, self.now["contact"][env]
        net[...] = 0.0
        force = np.zeros(6)
        for index in range(data.ncon):
            contact = data.contact[index]
            mujoco.mj_contactForce(model, data, index, force)
            world = contact.frame.reshape(3, 3).T @ force[:3]
            for geom, sign in ((contact.geom1, -1.0), (contact.geom2, 1.0)):
                body = int(model.geom_bodyid[geom])
                if body:
                    net[body - 1] += sign * world


def _cross(a, b):
    out = np.empty(np.broadcast(a, b).shape)  # np.cross is several times slower on small arrays
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        out[..., i] = a[..., j] * b[..., k] - a[..., k] * b[..., j]
    return out


def _rotate(quat, vector):
    """A vector turned by a unit quaternion wxyz."""
    twice = 2.0 * _cross(quat[1:], vector)
    return vector + quat[0] * twice + _cross(quat[1:], twice)


def _exp_map_to_quat(exp_map):
    """Rotation vectors ``[K, 3]`` as quaternions wxyz."""
    angle = np.sqrt((exp_map * exp_map).sum(-1, keepdims=True))
    return np.concatenate([np.cos(0.5 * angle), 0.5 * np.sinc(angle / (2.0 * np.pi)) * exp_map], axis=-1)


def _quat_to_exp_map(quat):
    """Quaternions wxyz ``[K, 4]`` as rotation vectors of at most half a turn."""
    vector = np.where(quat[:, :1] < 0, -quat[:, 1:], quat[:, 1:])
    sine = np.sqrt((vector * vector).sum(-1, keepdims=True))
    tiny = sine < 1e-12
    return vector * np.where(tiny, 2.0, 2.0 * np.arctan2(sine, np.abs(quat[:, :1])) / np.where(tiny, 1.0, sine))
