# A state of the world, what was done in it, and what that led to.
import numpy as np

state, action, reward, after = np.zeros(3), np.zeros(1), 0.5, np.ones(3)
