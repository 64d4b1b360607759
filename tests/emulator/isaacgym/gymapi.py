"""The part of ``gymapi`` that engines use, emulated. Structures refuse fields that the real ones do not have."""

import copy
import enum

import numpy as np

from isaacgym import _checks
from isaacgym._asset import Asset, dof_properties
from isaacgym._world import World


class SimType(enum.IntEnum):
    SIM_PHYSX = 0
    SIM_FLEX = 1


class UpAxis(enum.IntEnum):
    UP_AXIS_Y = 0
    UP_AXIS_Z = 1


class DofDriveMode(enum.IntEnum):
    DOF_MODE_NONE = 0
    DOF_MODE_POS = 1
    DOF_MODE_VEL = 2
    DOF_MODE_EFFORT = 3


class IndexDomain(enum.IntEnum):
    DOMAIN_ACTOR = 0
    DOMAIN_ENV = 1
    DOMAIN_SIM = 2


class CoordinateSpace(enum.IntEnum):
    ENV_SPACE = 0
    LOCAL_SPACE = 1
    GLOBAL_SPACE = 2


class TensorDataType(enum.IntEnum):
    DTYPE_FLOAT32 = 0
    DTYPE_UINT32 = 1
    DTYPE_UINT64 = 2
    DTYPE_UINT8 = 3
    DTYPE_INT16 = 4


for _kind in (SimType, UpAxis, DofDriveMode, IndexDomain, CoordinateSpace, TensorDataType):
    globals().update(_kind.__members__)

DTYPE_FLOAT32, DTYPE_UINT32, DTYPE_UINT64, DTYPE_UINT8, DTYPE_INT16 = TensorDataType
DOF_MODE_NONE, DOF_MODE_POS, DOF_MODE_VEL, DOF_MODE_EFFORT = DofDriveMode
INVALID_HANDLE = -1


class _Struct:
    """Fields with defaults, and no others."""

    _defaults = {}

    def __init__(self):
        for name, value in self._defaults.items():
            object.__setattr__(self, name, copy.deepcopy(value))

    def __setattr__(self, name, value):
        if name not in self._defaults:
            raise AttributeError("{} has no field {!r}".format(type(self).__name__, name))
        object.__setattr__(self, name, value)


class _Numbers(_Struct):
    def __init__(self, *values):
        super().__init__()
        if len(values) not in (0, len(self._defaults)):
            raise TypeError("{} takes {} numbers".format(type(self).__name__, len(self._defaults)))
        for name, value in zip(self._defaults, values):
            setattr(self, name, float(value))

    def _array(self):
        return np.array([getattr(self, name) for name in self._defaults])


@_checks.fields_exist
class Vec3(_Numbers):
    _defaults = {"x": 0.0, "y": 0.0, "z": 0.0}


@_checks.fields_exist
class Quat(_Numbers):
    _defaults = {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}


@_checks.fields_exist
class Transform(_Struct):
    _defaults = {"p": Vec3(), "r": Quat()}

    def __init__(self, p=None, r=None):
        super().__init__()
        if p is not None:
            self.p = p
        if r is not None:
            self.r = r


@_checks.fields_exist
class PhysXParams(_Struct):
    _defaults = {
        "always_use_articulations": False, "bounce_threshold_velocity": 0.2, "contact_collection": 2,
        "contact_offset": 0.02, "default_buffer_size_multiplier": 2.0, "friction_correlation_distance": 0.025,
        "friction_offset_threshold": 0.04, "max_depenetration_velocity": 100.0, "max_gpu_contact_pairs": 1024 * 1024,
        "num_position_iterations": 4, "num_subscenes": 0, "num_threads": 0, "num_velocity_iterations": 1,
        "rest_offset": 0.001, "solver_type": 1, "use_gpu": False,
    }  # fmt: skip


@_checks.fields_exist
class SimParams(_Struct):
    _defaults = {
        "dt": 1.0 / 60.0, "substeps": 2, "gravity": Vec3(0.0, -9.8, 0.0), "up_axis": UpAxis.UP_AXIS_Y,
        "use_gpu_pipeline": False, "num_client_threads": 0, "physx": PhysXParams(),
        "enable_actor_creation_warning": True,
    }  # fmt: skip


@_checks.fields_exist
class PlaneParams(_Struct):
    _defaults = {
        "distance": 0.0, "dynamic_friction": 1.0, "normal": Vec3(0.0, 1.0, 0.0), "restitution": 0.0,
        "segmentation_id": 0, "static_friction": 1.0,
    }  # fmt: skip


@_checks.fields_exist
class AssetOptions(_Struct):
    _defaults = {
        "angular_damping": 0.5, "armature": 0.0, "collapse_fixed_joints": False, "default_dof_drive_mode": 0,
        "density": 1000.0, "disable_gravity": False, "fix_base_link": False, "linear_damping": 0.0,
        "max_angular_velocity": 64.0, "max_linear_velocity": 1000.0, "thickness": 0.02,
    }  # fmt: skip


@_checks.fields_exist
class RigidBodyProperties(_Struct):
    _defaults = {"mass": 0.0, "com": Vec3(), "flags": 0}


class Sim:
    """Handle of a simulation."""

    def __init__(self, world):
        self._world = world


class Env:
    """Handle of an environment."""

    def __init__(self, world, index):
        self._world = world
        self._index = index


class Tensor:
    """A descriptor of memory."""

    def __init__(self):
        self._array, self.dtype, self.own_data, self.device = np.zeros(0, np.float32), DTYPE_FLOAT32, False, -1

    @classmethod
    def _of(cls, array, dtype=DTYPE_FLOAT32):
        tensor = cls()
        tensor._array, tensor.dtype = array, dtype
        return tensor

    @property
    def shape(self):
        return self._array.shape

    @property
    def ndim(self):
        return self._array.ndim


@_checks.checked
class Gym:
    """The calls of the simulator, checked and passed on."""

    def create_sim(self, compute_device=0, graphics_device=0, type=SimType.SIM_FLEX, params=None):
        if type != SimType.SIM_PHYSX:
            raise RuntimeError("the tensor API needs SIM_PHYSX")
        params = params or SimParams()
        if params.up_axis != UpAxis.UP_AXIS_Z:
            raise NotImplementedError("emulated isaacgym: z is up")
        return Sim(World(params))

    def destroy_sim(self, arg0):
        _world(arg0).destroy()

    def add_ground(self, sim, params):
        if not np.array_equal(params.normal._array(), [0.0, 0.0, 1.0]) or params.distance:
            raise NotImplementedError("emulated isaacgym: the ground is z = 0")
        _world(sim).ground = params.static_friction

    def load_asset(self, sim, rootpath, filename, options=None):
        _world(sim)
        return Asset(rootpath, filename, options or AssetOptions())

    def create_env(self, arg0, arg1, arg2, arg3):
        world = _world(arg0)
        return Env(world, world.add_env())

    def create_actor(self, env, asset, pose, name=None, group=-1, filter=-1, segmentationId=0):
        return env._world.add_actor(env._index, asset, pose.p._array(), pose.r._array(), group, filter)

    def prepare_sim(self, arg0):
        _world(arg0).prepare()
        return True

    # -- names and properties

    def get_asset_rigid_body_names(self, arg0):
        return list(arg0.body_names)

    def get_asset_dof_names(self, arg0):
        return list(arg0.dof_names)

    def get_asset_rigid_body_count(self, arg0):
        return len(arg0.body_names)

    def get_asset_dof_count(self, arg0):
        return len(arg0.dof_names)

    def get_asset_dof_properties(self, arg0):
        return dof_properties(arg0)

    def get_actor_dof_properties(self, arg0, arg1):
        return arg0._world.actor(arg0._index, arg1).properties.copy()

    def set_actor_dof_properties(self, arg0, arg1, arg2):
        return arg0._world.set_dof_properties(arg0._index, arg1, arg2)

    def get_actor_rigid_body_names(self, arg0, arg1):
        return list(arg0._world.actor(arg0._index, arg1).asset.body_names)

    def get_actor_dof_names(self, arg0, arg1):
        return list(arg0._world.actor(arg0._index, arg1).asset.dof_names)

    def get_actor_rigid_body_properties(self, arg0, arg1):
        asset = arg0._world.actor(arg0._index, arg1).asset
        out = []
        for mass, com in zip(asset.masses, asset.coms):
            properties = RigidBodyProperties()
            properties.mass, properties.com = float(mass), Vec3(*com)
            out.append(properties)
        return out

    def get_actor_index(self, arg0, arg1, arg2):
        if arg2 != IndexDomain.DOMAIN_SIM:
            return arg1
        return arg0._world.actor_index(arg0._index, arg1)

    def get_sim_actor_count(self, arg0):
        return _world(arg0).num_actors

    def get_sim_dof_count(self, arg0):
        return _world(arg0).num_dofs

    def get_sim_rigid_body_count(self, arg0):
        return _world(arg0).num_bodies

    # -- tensors

    def acquire_actor_root_state_tensor(self, arg0):
        return Tensor._of(_world(arg0).tensor("root"))

    def acquire_dof_state_tensor(self, arg0):
        array = _world(arg0).tensor("dof")
        return Tensor._of(array) if array.size else None

    def acquire_rigid_body_state_tensor(self, arg0):
        return Tensor._of(_world(arg0).tensor("body"))

    def acquire_net_contact_force_tensor(self, arg0):
        return Tensor._of(_world(arg0).tensor("contact"))

    def refresh_actor_root_state_tensor(self, arg0):
        return _world(arg0).refresh("root")

    def refresh_dof_state_tensor(self, arg0):
        return _world(arg0).refresh("dof")

    def refresh_rigid_body_state_tensor(self, arg0):
        return _world(arg0).refresh("body")

    def refresh_net_contact_force_tensor(self, arg0):
        return _world(arg0).refresh("contact")

    def set_actor_root_state_tensor(self, arg0, arg1):
        world = _world(arg0)
        return world.write("root", arg1._array, np.arange(world.num_actors, dtype=np.int32))

    def set_actor_root_state_tensor_indexed(self, arg0, arg1, arg2, arg3):
        return _world(arg0).write("root", arg1._array, arg2._array, arg3)

    def set_dof_state_tensor(self, arg0, arg1):
        world = _world(arg0)
        return world.write("dof", arg1._array, world.actors_with_dofs())

    def set_dof_state_tensor_indexed(self, arg0, arg1, arg2, arg3):
        return _world(arg0).write("dof", arg1._array, arg2._array, arg3)

    def set_dof_position_target_tensor(self, arg0, arg1):
        return _world(arg0).command("position", arg1._array)

    def set_dof_velocity_target_tensor(self, arg0, arg1):
        return _world(arg0).command("velocity", arg1._array)

    def set_dof_actuation_force_tensor(self, arg0, arg1):
        return _world(arg0).command("effort", arg1._array)

    def apply_rigid_body_force_tensors(self, sim, forceTensor=None, torqueTensor=None, space=CoordinateSpace.ENV_SPACE):
        if space == CoordinateSpace.LOCAL_SPACE:
            raise NotImplementedError("emulated isaacgym: forces in local axes")
        return _world(sim).force(
            None if forceTensor is None else forceTensor._array, None if torqueTensor is None else torqueTensor._array
        )

    # -- running

    def simulate(self, arg0):
        _world(arg0).simulate()

    def fetch_results(self, arg0, arg1):
        _world(arg0).fetch()


def _world(sim):
    sim._world.check_alive()
    return sim._world


_GYM = Gym()


def acquire_gym(*args):
    """The one simulator of the process."""
    return _GYM
