"""Warp kernels of the Newton engine: commands, resets, contacts and read-out, one launch each for all environments.

``w`` is an environment, ``i`` a body of one object in depth-first order. MuJoCo Warp stores quaternions wxyz (also in
its ``quat`` arrays); what leaves these kernels is xyzw. Ball velocities and torques are in the child's frame and the
free joint's linear velocity is that of the link origin, which are the conventions of the engine interface already.
"""

import warp as wp

FREE = wp.constant(0)
BALL = wp.constant(1)
HINGE = wp.constant(3)
HUGE = wp.constant(1.0e10)  # what MuJoCo calls an unstable simulation


@wp.struct
class Tree:
    """One object's bodies, arrays of length ``B``; indices of the root are those of its free joint."""

    parent: wp.array(dtype=wp.int32)  # within the object, -1 for the root
    kind: wp.array(dtype=wp.int32)  # FREE, BALL, HINGE or -1
    qpos: wp.array(dtype=wp.int32)  # address of the joint's coordinates
    qvel: wp.array(dtype=wp.int32)
    dof: wp.array(dtype=wp.int32)  # first DoF column of the object
    pos: wp.array(dtype=wp.vec3)  # frame in the parent's
    rot: wp.array(dtype=wp.quat)
    axis: wp.array(dtype=wp.vec3)
    anchor: wp.array(dtype=wp.vec3)  # of the joint, in the body's frame
    mocap: wp.int32  # of a fixed root, or -1


@wp.struct
class Pose:
    """One object's state in all environments."""

    body_pos: wp.array2d(dtype=wp.vec3)
    body_rot: wp.array2d(dtype=wp.quat)
    body_vel: wp.array2d(dtype=wp.vec3)
    body_ang_vel: wp.array2d(dtype=wp.vec3)
    dof_pos: wp.array2d(dtype=wp.float32)
    dof_vel: wp.array2d(dtype=wp.float32)


@wp.struct
class Start:
    """One object's new state in all environments, as torch wrote it."""

    root_pos: wp.array(dtype=wp.vec3)
    root_rot: wp.array(dtype=wp.quat)
    root_vel: wp.array(dtype=wp.vec3)
    root_ang_vel: wp.array(dtype=wp.vec3)
    dof_pos: wp.array2d(dtype=wp.float32)
    dof_vel: wp.array2d(dtype=wp.float32)


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
def _read_quat(qpos: wp.array2d(dtype=wp.float32), w: int, a: int) -> wp.quat:
    return wp.normalize(wp.quat(qpos[w, a + 1], qpos[w, a + 2], qpos[w, a + 3], qpos[w, a]))


@wp.func
def _write_quat(qpos: wp.array2d(dtype=wp.float32), w: int, a: int, q: wp.quat):
    qpos[w, a] = q[3]
    qpos[w, a + 1] = q[0]
    qpos[w, a + 2] = q[1]
    qpos[w, a + 3] = q[2]


@wp.kernel
def read_out(
    mask: wp.array(dtype=wp.bool),
    diverged: wp.array(dtype=wp.bool),
    qpos: wp.array2d(dtype=wp.float32),
    qvel: wp.array2d(dtype=wp.float32),
    mocap_pos: wp.array2d(dtype=wp.vec3),
    mocap_quat: wp.array2d(dtype=wp.quat),
    tree: Tree,
    out: Pose,
):
    """Forward kinematics of poses and velocities, down the tree, one environment a thread."""
    w = wp.tid()
    if not mask[w]:
        return
    for i in range(tree.parent.shape[0]):
        a = tree.qpos[i]
        b = tree.qvel[i]
        kind = tree.kind[i]
        p = wp.vec3()
        q = wp.quat_identity()
        v = wp.vec3()
        o = wp.vec3()
        if kind == FREE:
            p = wp.vec3(qpos[w, a], qpos[w, a + 1], qpos[w, a + 2])
            q = _read_quat(qpos, w, a + 3)
            v = wp.vec3(qvel[w, b], qvel[w, b + 1], qvel[w, b + 2])
            o = wp.quat_rotate(q, wp.vec3(qvel[w, b + 3], qvel[w, b + 4], qvel[w, b + 5]))
        elif tree.parent[i] < 0:
            p = mocap_pos[w, tree.mocap]
            m = mocap_quat[w, tree.mocap]
            q = wp.normalize(wp.quat(m[1], m[2], m[3], m[0]))
        else:
            k = tree.parent[i]
            parent_p = out.body_pos[w, k]
            parent_q = out.body_rot[w, k]
            parent_v = out.body_vel[w, k]
            parent_o = out.body_ang_vel[w, k]
            p = parent_p + wp.quat_rotate(parent_q, tree.pos[i])
            q = parent_q * tree.rot[i]
            anchor = p + wp.quat_rotate(q, tree.anchor[i])
            v = parent_v + wp.cross(parent_o, anchor - parent_p)
            o = parent_o
            d = tree.dof[i]
            if kind == BALL:
                turn = _read_quat(qpos, w, a)
                rate = wp.vec3(qvel[w, b], qvel[w, b + 1], qvel[w, b + 2])
                q = q * turn
                o = parent_o + wp.quat_rotate(q, rate)
                e = _exp_map(turn)
                for c in range(3):
                    out.dof_pos[w, d + c] = e[c]
                    out.dof_vel[w, d + c] = rate[c]
            elif kind == HINGE:
                o = parent_o + wp.quat_rotate(q, tree.axis[i]) * qvel[w, b]
                q = q * wp.quat_from_axis_angle(tree.axis[i], qpos[w, a])
                out.dof_pos[w, d] = qpos[w, a]
                out.dof_vel[w, d] = qvel[w, b]
            q = wp.normalize(q)
            p = anchor - wp.quat_rotate(q, tree.anchor[i])
            v = v + wp.cross(o, p - anchor)
        out.body_pos[w, i] = p
        out.body_rot[w, i] = q
        out.body_vel[w, i] = v
        out.body_ang_vel[w, i] = o
    if diverged[w]:
        n = wp.nan
        for i in range(tree.parent.shape[0]):
            out.body_pos[w, i] = wp.vec3(n, n, n)
            out.body_rot[w, i] = wp.quat(n, n, n, n)
            out.body_vel[w, i] = wp.vec3(n, n, n)
            out.body_ang_vel[w, i] = wp.vec3(n, n, n)
        for c in range(out.dof_pos.shape[1]):
            out.dof_pos[w, c] = n
            out.dof_vel[w, c] = n


@wp.kernel
def restart_lost(
    mask: wp.array(dtype=wp.bool),
    qpos0: wp.array(dtype=wp.float32),
    diverged: wp.array(dtype=wp.bool),
    qpos: wp.array2d(dtype=wp.float32),
    qvel: wp.array2d(dtype=wp.float32),
    warmstart: wp.array2d(dtype=wp.float32),
    ctrl: wp.array2d(dtype=wp.float32),
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
def refuse_bad_commands(command: wp.array2d(dtype=wp.float32), diverged: wp.array(dtype=wp.bool)):
    """A command that is no number loses its environment; the simulator itself gets zero."""
    w, i = wp.tid()
    if not (wp.abs(command[w, i]) < HUGE):
        command[w, i] = 0.0
        diverged[w] = True


@wp.kernel
def clear_worlds(
    mask: wp.array(dtype=wp.bool),
    diverged: wp.array(dtype=wp.bool),
    warmstart: wp.array2d(dtype=wp.float32),
    qfrc: wp.array2d(dtype=wp.float32),
    ctrl: wp.array2d(dtype=wp.float32),
    xfrc: wp.array2d(dtype=wp.spatial_vector),
    time: wp.array(dtype=wp.float32),
    total: wp.array2d(dtype=wp.vec3),
    ground: wp.array2d(dtype=wp.vec3),
):
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
    mask: wp.array(dtype=wp.bool),
    start: Start,
    tree: Tree,
    qpos: wp.array2d(dtype=wp.float32),
    qvel: wp.array2d(dtype=wp.float32),
    mocap_pos: wp.array2d(dtype=wp.vec3),
    mocap_quat: wp.array2d(dtype=wp.quat),
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
    target: wp.array2d(dtype=wp.float32),
    kp: wp.array(dtype=wp.float32),
    kd: wp.array(dtype=wp.float32),
    limit: wp.array(dtype=wp.float32),
    feedback: bool,
    tree: Tree,
    qpos: wp.array2d(dtype=wp.float32),
    qvel: wp.array2d(dtype=wp.float32),
    qfrc: wp.array2d(dtype=wp.float32),
):
    """Generalised forces of one object within its limits: ``target`` itself, or an explicit PD law towards it."""
    w, i = wp.tid()
    kind = tree.kind[i]
    if kind != BALL and kind != HINGE:
        return
    a = tree.qpos[i]
    b = tree.qvel[i]
    d = tree.dof[i]
    dofs = int(1)  # noqa: RUF046  (a variable to Warp, not a constant)
    e = wp.vec3(qpos[w, a], 0.0, 0.0)
    if kind == BALL:
        dofs = int(3)  # noqa: RUF046
        e = _exp_map(_read_quat(qpos, w, a))
    for c in range(dofs):
        torque = target[w, d + c]
        if feedback:
            torque = kp[d + c] * (torque - e[c]) - kd[d + c] * qvel[w, b + c]
        qfrc[w, b + c] = wp.clamp(torque, -limit[d + c], limit[d + c])


@wp.kernel
def contact_forces(
    count: wp.array(dtype=wp.int32),
    world: wp.array(dtype=wp.int32),
    geom: wp.array(dtype=wp.vec2i),
    frame: wp.array(dtype=wp.mat33),
    force: wp.array(dtype=wp.spatial_vector),
    geom_body: wp.array(dtype=wp.int32),
    ground_geom: int,
    total: wp.array2d(dtype=wp.vec3),
    ground: wp.array2d(dtype=wp.vec3),
):
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
def forget_lost_contacts(
    diverged: wp.array(dtype=wp.bool), total: wp.array2d(dtype=wp.vec3), ground: wp.array2d(dtype=wp.vec3)
):
    """Environments without a state have no contact forces either."""
    w, i = wp.tid()
    if diverged[w]:
        n = wp.nan
        total[w, i] = wp.vec3(n, n, n)
        ground[w, i] = wp.vec3(n, n, n)
