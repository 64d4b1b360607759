"""Kernels for MuJoCo Warp: commands, resets, contacts and read-out, one launch each for all environments.

``w`` is an environment, ``i`` a body of one object in depth-first order. MuJoCo Warp stores quaternions wxyz (also in
its ``quat`` arrays); what leaves these kernels is xyzw. Ball velocities and torques are in the child's frame and the
free joint's linear velocity is that of the link origin, which are the conventions of the engine interface already.
"""

import warp as wp

FREE = wp.constant(0)
BALL = wp.constant(1)
HINGE = wp.constant(3)
HUGE = wp.constant(1.0e10)  # what MuJoCo calls an unstable simulation

# Arrays of one number or vector an environment; those in 2 have bodies, joints or columns besides.
Bools = wp.array(dtype=wp.bool)
Floats = wp.array(dtype=wp.float32)
Floats2 = wp.array2d(dtype=wp.float32)
Ints = wp.array(dtype=wp.int32)
Quats = wp.array(dtype=wp.quat)
Quats2 = wp.array2d(dtype=wp.quat)
Vectors = wp.array(dtype=wp.vec3)
Vectors2 = wp.array2d(dtype=wp.vec3)


@wp.struct
class Tree:
    """One object's bodies, arrays of length ``B``; indices of the root are those of its free joint."""

    parent: Ints  # within the object, -1 for the root
    kind: Ints  # FREE, BALL, HINGE or -1
    qpos: Ints  # address of the joint's coordinates
    qvel: Ints
    dof: Ints  # first DoF column of the object
    force: Ints  # first column that takes the joint's torques
    pos: Vectors  # frame in the parent's
    rot: Quats
    axis: Vectors
    anchor: Vectors  # of the joint, in the body's frame
    mocap: wp.int32  # of a fixed root, or -1


@wp.struct
class Pose:
    """One object's state in all environments."""

    body_pos: Vectors2
    body_rot: Quats2
    body_vel: Vectors2
    body_ang_vel: Vectors2
    dof_pos: Floats2
    dof_vel: Floats2


@wp.struct
class Start:
    """One object's new state in all environments, as torch wrote it."""

    root_pos: Vectors
    root_rot: Quats
    root_vel: Vectors
    root_ang_vel: Vectors
    dof_pos: Floats2
    dof_vel: Floats2


@wp.func
def _exp_map(q: wp.quat) -> wp.vec3:
    """Exponential map of a unit quaternion (xyzw), angle in [0, pi]."""
    v = wp.vec3(q[0], q[1], q[2])
    sine = wp.length(v)
    scale = float(2.0)
    if sine > 1.0e-12:
        scale = 2.0 * wp.atan2(sine, wp.abs(q[3])) / sine
    if q[3] < 0.0:
        scale = -scale
    return scale * v


@wp.func
def _from_exp_map(e: wp.vec3) -> wp.quat:
    angle = wp.length(e)
    s = float(0.5)
    if angle > 1.0e-6:
        s = wp.sin(0.5 * angle) / angle
    return wp.quat(s * e[0], s * e[1], s * e[2], wp.cos(0.5 * angle))


@wp.func
def _read_quat(qpos: Floats2, w: int, a: int) -> wp.quat:
    return wp.normalize(wp.quat(qpos[w, a + 1], qpos[w, a + 2], qpos[w, a + 3], qpos[w, a]))


@wp.func
def _write_quat(qpos: Floats2, w: int, a: int, q: wp.quat):
    qpos[w, a] = q[3]
    qpos[w, a + 1] = q[0]
    qpos[w, a + 2] = q[1]
    qpos[w, a + 3] = q[2]


@wp.func
def _read_joint(w: int, i: int, lost: bool, qpos: Floats2, qvel: Floats2, tree: Tree, out: Pose):
    """Position and velocity of the DoFs of body ``i``."""
    a = tree.qpos[i]
    b = tree.qvel[i]
    d = tree.dof[i]
    kind = tree.kind[i]
    e = wp.vec3()
    dofs = int(0)  # noqa: RUF046  (a variable to Warp, not a constant)
    if kind == BALL:
        dofs = int(3)  # noqa: RUF046
        e = _exp_map(_read_quat(qpos, w, a))
    elif kind == HINGE:
        dofs = int(1)  # noqa: RUF046
        e = wp.vec3(qpos[w, a], 0.0, 0.0)
    for c in range(dofs):
        if lost:
            out.dof_pos[w, d + c] = wp.nan
            out.dof_vel[w, d + c] = wp.nan
        else:
            out.dof_pos[w, d + c] = e[c]
            out.dof_vel[w, d + c] = qvel[w, b + c]


@wp.kernel
def read_out(
    mask: Bools, diverged: Bools, qpos: Floats2, qvel: Floats2, mocap_pos: Vectors2, mocap_quat: Quats2, tree: Tree,
    out: Pose,
):  # fmt: skip
    """Forward kinematics of poses and velocities, one body a thread, which walks up to the root.

    ``p, q, v, o`` are position, rotation, velocity and angular velocity of body ``i`` in the frame of body ``k``, and
    those in the frame of ``k``'s parent after ``k``'s turn. A thread an environment, going down the tree, waits for
    itself at every body.
    """
    w, i = wp.tid()
    if not mask[w]:
        return
    p = wp.vec3()
    q = wp.quat_identity()
    v = wp.vec3()
    o = wp.vec3()
    k = int(i)
    while k >= 0:
        a = tree.qpos[k]
        b = tree.qvel[k]
        kind = tree.kind[k]
        turn = wp.quat_identity()
        center = wp.vec3()  # of the turn, and the joint's velocities, in the parent's frame
        origin = wp.vec3()
        speed = wp.vec3()
        rate = wp.vec3()
        if kind == FREE:
            turn = _read_quat(qpos, w, a + 3)
            origin = wp.vec3(qpos[w, a], qpos[w, a + 1], qpos[w, a + 2])
            center = origin
            speed = wp.vec3(qvel[w, b], qvel[w, b + 1], qvel[w, b + 2])
            rate = wp.quat_rotate(turn, wp.vec3(qvel[w, b + 3], qvel[w, b + 4], qvel[w, b + 5]))
        elif tree.parent[k] < 0:
            origin = mocap_pos[w, tree.mocap]
            m = mocap_quat[w, tree.mocap]
            turn = wp.normalize(wp.quat(m[1], m[2], m[3], m[0]))
        else:
            turn = tree.rot[k]
            center = tree.pos[k] + wp.quat_rotate(turn, tree.anchor[k])
            if kind == BALL:
                turn = turn * _read_quat(qpos, w, a)
                rate = wp.quat_rotate(turn, wp.vec3(qvel[w, b], qvel[w, b + 1], qvel[w, b + 2]))
            elif kind == HINGE:
                rate = wp.quat_rotate(turn, tree.axis[k]) * qvel[w, b]
                turn = turn * wp.quat_from_axis_angle(tree.axis[k], qpos[w, a])
            origin = center - wp.quat_rotate(turn, tree.anchor[k])
        p = origin + wp.quat_rotate(turn, p)
        v = speed + wp.cross(rate, p - center) + wp.quat_rotate(turn, v)
        o = rate + wp.quat_rotate(turn, o)
        q = turn * q
        k = tree.parent[k]
    q = wp.normalize(q)
    if diverged[w]:
        n = wp.nan
        p = wp.vec3(n, n, n)
        q = wp.quat(n, n, n, n)
        v = p
        o = p
    out.body_pos[w, i] = p
    out.body_rot[w, i] = q
    out.body_vel[w, i] = v
    out.body_ang_vel[w, i] = o
    _read_joint(w, i, diverged[w], qpos, qvel, tree, out)


@wp.kernel
def restart_lost(
    mask: Bools, qpos0: Floats, diverged: Bools, qpos: Floats2, qvel: Floats2, warmstart: Floats2, ctrl: Floats2
):
    """Environments whose state is no number any more: flag them, and put the simulator where it can go on cheaply."""
    w = wp.tid()
    if not mask[w]:
        return
    lost = bool(False)
    for i in range(qpos.shape[1]):
        if not (wp.abs(qpos[w, i]) < HUGE):
            lost = True
    for i in range(qvel.shape[1]):
        if not (wp.abs(qvel[w, i]) < HUGE) or not (wp.abs(warmstart[w, i]) < HUGE):
            lost = True
    if not lost:
        return
    diverged[w] = True
    for i in range(qpos.shape[1]):
        qpos[w, i] = qpos0[i]
    for i in range(qvel.shape[1]):
        qvel[w, i] = 0.0
        warmstart[w, i] = 0.0
    for i in range(ctrl.shape[1]):
        ctrl[w, i] = 0.0


@wp.kernel
def refuse_bad_commands(command: Floats2, diverged: Bools):
    """A command that is no number loses its environment; the simulator itself gets zero."""
    w, i = wp.tid()
    if not (wp.abs(command[w, i]) < HUGE):
        command[w, i] = 0.0
        diverged[w] = True


@wp.kernel
def clear_worlds(
    mask: Bools, diverged: Bools, warmstart: Floats2, qfrc: Floats2, ctrl: Floats2,
    xfrc: wp.array2d(dtype=wp.spatial_vector), time: Floats, total: Vectors2, ground: Vectors2,
):  # fmt: skip
    """Forget the past of the masked environments: warm start, commands, forces, contacts."""
    w, i = wp.tid()
    if not mask[w]:
        return
    if i == 0:
        diverged[w] = False
        time[w] = 0.0
    if i < warmstart.shape[1]:
        warmstart[w, i] = 0.0
        qfrc[w, i] = 0.0
    if i < ctrl.shape[1]:
        ctrl[w, i] = 0.0
    if i < xfrc.shape[1]:
        xfrc[w, i] = wp.spatial_vector()
    if i < total.shape[1]:
        total[w, i] = wp.vec3()
        ground[w, i] = wp.vec3()


@wp.kernel
def write_state(
    mask: Bools, start: Start, tree: Tree, qpos: Floats2, qvel: Floats2, mocap_pos: Vectors2, mocap_quat: Quats2
):
    """Put one object of the masked environments into its new state, one body a thread."""
    w, i = wp.tid()
    if not mask[w]:
        return
    a = tree.qpos[i]
    b = tree.qvel[i]
    d = tree.dof[i]
    kind = tree.kind[i]
    if tree.parent[i] < 0:
        p = start.root_pos[w]
        q = wp.normalize(start.root_rot[w])
        if kind == FREE:
            v = start.root_vel[w]
            o = wp.quat_rotate_inv(q, start.root_ang_vel[w])
            _write_quat(qpos, w, a + 3, q)
            for c in range(3):
                qpos[w, a + c] = p[c]
                qvel[w, b + c] = v[c]
                qvel[w, b + 3 + c] = o[c]
        else:
            mocap_pos[w, tree.mocap] = p
            mocap_quat[w, tree.mocap] = wp.quat(q[3], q[0], q[1], q[2])
    elif kind == BALL:
        e = wp.vec3(start.dof_pos[w, d], start.dof_pos[w, d + 1], start.dof_pos[w, d + 2])
        _write_quat(qpos, w, a, _from_exp_map(e))
        for c in range(3):
            qvel[w, b + c] = start.dof_vel[w, d + c]
    elif kind == HINGE:
        qpos[w, a] = start.dof_pos[w, d]
        qvel[w, b] = start.dof_vel[w, d]


@wp.kernel
def joint_torque(
    target: Floats2, kp: Floats2, kd: Floats2, limit: Floats2, feedback: bool, tree: Tree, qpos: Floats2, qvel: Floats2,
    out: Floats2,
):  # fmt: skip
    """Joint torques of one object within its limits: ``target`` itself, or an explicit PD law towards it.

    Gains and limits have one row for all environments, or one for each.
    """
    w, i = wp.tid()
    kind = tree.kind[i]
    if kind != BALL and kind != HINGE:
        return
    a = tree.qpos[i]
    b = tree.qvel[i]
    d = tree.dof[i]
    f = tree.force[i]
    dofs = int(1)  # noqa: RUF046  (a variable to Warp, not a constant)
    e = wp.vec3(qpos[w, a], 0.0, 0.0)
    if kind == BALL:
        dofs = int(3)  # noqa: RUF046
        e = _exp_map(_read_quat(qpos, w, a))
    for c in range(dofs):
        torque = target[w, d + c]
        if feedback:
            torque = kp[w % kp.shape[0], d + c] * (torque - e[c]) - kd[w % kd.shape[0], d + c] * qvel[w, b + c]
        most = limit[w % limit.shape[0], d + c]
        out[w, f + c] = wp.clamp(torque, -most, most)


@wp.kernel
def contact_forces(
    count: Ints, world: Ints, geom: wp.array(dtype=wp.vec2i), frame: wp.array(dtype=wp.mat33),
    force: wp.array(dtype=wp.spatial_vector), geom_body: Ints, ground_geom: int, total: Vectors2, ground: Vectors2,
):  # fmt: skip
    """Add each contact's force, given in world axes, to the bodies it acts on, one contact a thread."""
    k = wp.tid()
    if k >= count[0]:
        return
    w = world[k]
    f = wp.spatial_top(force[k])
    g = geom[k]
    # MuJoCo's contact force acts on the second geom; columns leave out the world body.
    first = geom_body[g[0]] - 1
    second = geom_body[g[1]] - 1
    if first >= 0:
        wp.atomic_sub(total, w, first, f)
        if g[1] == ground_geom:
            wp.atomic_sub(ground, w, first, f)
    if second >= 0:
        wp.atomic_add(total, w, second, f)
        if g[0] == ground_geom:
            wp.atomic_add(ground, w, second, f)


@wp.kernel
def forget_lost_contacts(diverged: Bools, total: Vectors2, ground: Vectors2):
    """Environments without a state have no contact forces either."""
    w, i = wp.tid()
    if diverged[w]:
        n = wp.nan
        total[w, i] = wp.vec3(n, n, n)
        ground[w, i] = wp.vec3(n, n, n)
