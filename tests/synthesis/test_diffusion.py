"""The samplers against a Gaussian, for which everything is known in closed form."""

import numpy as np
import pytest

from genaudio_core.synthesis.diffusion import SOLVERS, ddim, dpm_solver, guided, schedule, time_steps, x_from_v

MEAN, SPREAD = 1.5, 0.4


def best_guess(shift):
    """The ideal denoiser of data that is normal with MEAN and SPREAD."""

    def predict(x, t):
        alpha, sigma = schedule(t, shift)
        return MEAN + alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2) * (x - alpha * MEAN)

    return predict


def exact(noise, steps, shift):
    """Where the probability-flow path of `noise` ends: its place within the distribution does not change."""
    alpha, sigma = schedule(time_steps(steps, shift)[0], shift)
    return MEAN + SPREAD * (noise - alpha * MEAN) / np.sqrt(alpha**2 * SPREAD**2 + sigma**2)


@pytest.mark.parametrize('shift', [0.5, 1.0, 2.0])
def test_schedule_keeps_the_variance_and_goes_one_way(shift):
    t = np.linspace(0, 1, 101)
    alpha, sigma = schedule(t, shift)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, atol=1e-12)
    assert (np.diff(sigma) > 0).all() and sigma[0] == 0 and sigma[-1] == pytest.approx(1)
    if shift > 1:
        assert (sigma[1:-1] > schedule(t)[1][1:-1]).all()


def test_x_from_v_undoes_the_definition_of_v():
    rng = np.random.default_rng(0)
    clean, noise = rng.standard_normal((2, 3, 5))
    alpha, sigma = schedule(0.3, 2.0)
    assert np.allclose(x_from_v(alpha * clean + sigma * noise, alpha * noise - sigma * clean, 0.3, 2.0), clean)


@pytest.mark.parametrize('solver', list(SOLVERS))
@pytest.mark.parametrize('shift', [1.0, 2.0])
def test_solvers_follow_the_exact_path(solver, shift):
    noise = np.random.default_rng(1).standard_normal((4000,))
    made = SOLVERS[solver](best_guess(shift), noise, 100, shift)
    assert np.abs(made - exact(noise, 100, shift)).max() < 0.03
    assert made.mean() == pytest.approx(MEAN, abs=0.03) and made.std() == pytest.approx(SPREAD, abs=0.02)


@pytest.mark.parametrize('solver', list(SOLVERS))
def test_more_steps_are_closer(solver):
    noise = np.random.default_rng(2).standard_normal((500,))
    errors = [np.abs(SOLVERS[solver](best_guess(1.0), noise, n, 1.0) - exact(noise, n, 1.0)).max() for n in (5, 20, 80)]
    assert errors[0] > errors[1] > errors[2]


def test_second_order_is_closer_than_first_with_as_many_steps():
    noise = np.random.default_rng(3).standard_normal((500,))
    goal = exact(noise, 20, 1.0)
    first, second = (np.abs(solver(best_guess(1.0), noise, 20, 1.0) - goal).max() for solver in (ddim, dpm_solver))
    assert second < 0.6 * first


def test_a_step_costs_one_evaluation():
    for solver in SOLVERS.values():
        asked = []
        solver(lambda x, t, asked=asked: asked.append(t) or x, np.zeros(3), 7)
        assert len(asked) == 7 and asked == sorted(asked, reverse=True)


def test_guidance_goes_from_the_empty_query_through_the_query_and_beyond():
    rng = np.random.default_rng(4)
    conditional, other = rng.standard_normal((2, 2, 6, 3))
    assert np.allclose(guided(conditional, other, 1.0), conditional)
    assert np.allclose(guided(conditional, other, 0.0), other)
    beyond = guided(conditional, other, 3.0)
    assert np.allclose(beyond - conditional, 2 * (conditional - other))
    calm = guided(conditional, other, 3.0, rescale=1.0)
    np.testing.assert_allclose(calm.std(axis=(1, 2)), conditional.std(axis=(1, 2)), rtol=1e-6)
    assert calm.std() < beyond.std()
