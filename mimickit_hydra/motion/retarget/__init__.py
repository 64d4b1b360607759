"""Retargeting: the motion of a person or a robot as a clip of another robot.

``skeletons`` says which joint of a body is the left knee; ``source`` takes the motion of such points out of a clip;
``targets`` places those of the robot; ``solve`` finds its joint angles with mink; ``quality`` measures the outcome.
"""
