"""MimicKit's 37 argument files as overrides: the words that compose to the values of each."""

from __future__ import annotations

_GYM = "engine=isaac_gym"
_LAB = "engine=isaac_lab"
_SWORD = "character=humanoid_sword_shield"
_SPINKICK = "motion=humanoid_spinkick"
_GAITS = "motion=humanoid_locomotion"
_COMBO = "motion=humanoid_sword_shield_combo"

# argument file without folder and ending -> overrides, the engine first
ROWS: dict[str, tuple[str, ...]] = {
    "add_g1_args": (_GYM, "method=add", "character=g1"),
    "add_go2_args": (_GYM, "method=add", "character=go2"),
    "add_humanoid_args": (_GYM, "method=add", _SPINKICK),
    "add_pi_plus_args": (_GYM, "method=add", "character=pi_plus"),
    "add_smpl_args": (_GYM, "method=add", "character=smpl"),
    "amp_g1_args": (_GYM, "method=amp", "character=g1"),
    "amp_go2_args": (_GYM, "method=amp", "character=go2"),
    "amp_humanoid_args": (_GYM, "method=amp", _SPINKICK),
    "amp_location_humanoid_args": (_GYM, "method=amp", "env=location", _GAITS),
    "amp_location_humanoid_sword_shield_args": (_GYM, "method=amp", "env=location", _SWORD),
    "amp_pi_plus_args": (_GYM, "method=amp", "character=pi_plus"),
    "amp_smpl_args": (_GYM, "method=amp", "character=smpl"),
    "amp_steering_humanoid_args": (_GYM, "method=amp", "env=steering", _GAITS),
    "amp_steering_humanoid_sword_shield_args": (_GYM, "method=amp", "env=steering", _SWORD),
    "ase_humanoid_args": (_GYM, "method=ase", _GAITS),
    "ase_humanoid_sword_shield_args": (_GYM, "method=ase", _SWORD, "motion=humanoid_sword_shield_all"),
    "deepmimic_g1_ppo_args": (_GYM, "character=g1"),
    "deepmimic_go2_ppo_args": (_GYM, "character=go2"),
    "deepmimic_humanoid_awr_args": (_GYM, "method=awr", _SPINKICK),
    "deepmimic_humanoid_ppo_args": (_GYM, _SPINKICK),
    "deepmimic_humanoid_sword_shield_ppo_args": (_GYM, _SWORD, _COMBO),
    "deepmimic_pi_plus_ppo_args": (_GYM, "character=pi_plus"),
    "deepmimic_smpl_ppo_args": (_GYM, "character=smpl"),
    "dof_test_humanoid_args": (_GYM, "method=dof_test"),
    "lcp_g1_ppo_args": (_GYM, "method=lcp", "character=g1"),
    "smp_dodgeball_humanoid_args": (_GYM, "method=smp", "env=dodgeball", _GAITS),
    "smp_humanoid_args": (_LAB, "method=smp", _SPINKICK),
    "smp_location_humanoid_args": (_LAB, "method=smp", "env=location", _GAITS),
    "smp_steering_humanoid_args": (_LAB, "method=smp", "env=steering", _GAITS),
    "vault_g1_args": (_GYM, "env=vault", "character=g1", "motion=g1_double_kong"),
    "vault_humanoid_args": (_GYM, "env=vault", "motion=humanoid_speed_vault"),
    "view_motion_g1_args": (_GYM, "method=view_motion", "character=g1"),
    "view_motion_go2_args": (_GYM, "method=view_motion", "character=go2"),
    "view_motion_humanoid_args": (_GYM, "method=view_motion", _SPINKICK),
    "view_motion_humanoid_sword_shield_args": (_GYM, "method=view_motion", _SWORD, _COMBO),
    "view_motion_pi_plus_args": (_GYM, "method=view_motion", "character=pi_plus"),
    "view_motion_smpl_args": (_GYM, "method=view_motion", "character=smpl"),
}
