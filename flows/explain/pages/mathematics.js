// The mathematics of the three pages, as rlhf_core has it; tests/golden/explain.json holds both to the same numbers.
"use strict";

const mathematics = (() => {
  const BAND = [0.5, 4.0]; // logits, of rlhf_core.metrics.calibration
  const BINS = 10;
  const RESAMPLES = 1000;
  const Z = 1.959963984540054; // 97.5 % point of a standard normal distribution
  const QUARTILE = 0.6744897501960817; // its 75 % point: the median of its size

  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const mean = (values) => sum(values) / values.length;
  const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

  /** Numbers in [0, 1) that a seed decides: mulberry32. */
  function randomStream(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
  }

  // ---- Bradley and Terry (1952): scores of responses from choices between two of them

  /** Every pair of n responses, once. */
  const pairsOf = (n) => Array.from({ length: n }, (_, b) => Array.from({ length: b }, (_, a) => [a, b])).flat();

  /** Chance that a person picks the first of two whose scores differ by gap; a careless pick is a coin's. */
  const preference = (gap, careless) => (1 - careless) * sigmoid(gap) + careless / 2;

  /** -log sigmoid(delta), nats. */
  const bradleyTerryLoss = (delta) => softplus(-delta);

  /** Scores after one gradient step on the loss of one choice. */
  function gradientStep(scores, winner, loser, rate) {
    const push = rate * sigmoid(scores[loser] - scores[winner]);
    return scores.map((score, i) => score + (i === winner ? push : i === loser ? -push : 0));
  }

  /** Share of all choices that the true order predicts: the mean over pairs of max(p, 1 - p). */
  const ceiling = (hidden, careless) =>
    mean(pairsOf(hidden.length).map(([a, b]) => {
      const p = preference(hidden[a] - hidden[b], careless);
      return Math.max(p, 1 - p);
    }));

  /** Share of all choices that the order of some scores predicts; a tie predicts half of them. */
  const expectedAgreement = (scores, hidden, careless) =>
    mean(pairsOf(hidden.length).map(([a, b]) => {
      const p = preference(hidden[a] - hidden[b], careless);
      return 0.5 + Math.sign(scores[a] - scores[b]) * (p - 0.5);
    }));

  /** Mean loss over all pairs and whom people pick, nats. */
  const expectedLoss = (scores, hidden, careless) =>
    mean(pairsOf(hidden.length).map(([a, b]) => {
      const p = preference(hidden[a] - hidden[b], careless);
      const delta = scores[a] - scores[b];
      return p * softplus(-delta) + (1 - p) * softplus(delta);
    }));

  /** Where the scores go in the end: the least expected loss, with mean 0; carelessness draws them together. */
  function fittedScores(hidden, careless) {
    let scores = hidden.map(() => 0);
    for (let turn = 0; turn < 4000; turn++) {
      const push = hidden.map(() => 0);
      for (const [a, b] of pairsOf(hidden.length)) {
        const miss = preference(hidden[a] - hidden[b], careless) - sigmoid(scores[a] - scores[b]);
        push[a] += miss;
        push[b] -= miss;
      }
      scores = scores.map((score, i) => score + push[i] / 2);
    }
    return scores;
  }

  // ---- over-optimisation: which state of a recorded run a price or a budget of KL would have ended with

  /** Index of the state that maximises reward - beta KL; the first of several. */
  const bestUnderBeta = (curve, beta) =>
    curve.reduce((best, point, i) => {
      const worth = (state) => state.reward - beta * state.kl;
      return worth(point) > worth(curve[best]) ? i : best;
    }, 0);

  /** Index of the last state before the upper bound of the KL leaves a budget. */
  function withinBudget(curve, nats) {
    const beyond = curve.findIndex((point, i) => i > 0 && !(point.kl_upper <= nats));
    return beyond < 0 ? curve.length - 1 : beyond - 1;
  }

  /** Index of the state where a figure is largest; the first of several. */
  const peak = (curve, name) => curve.reduce((best, point, i) => (point[name] > curve[best][name] ? i : best), 0);

  // ---- calibration of margins; `prompts` holds the margins of each prompt's pairs, as they are resampled together

  const hit = (delta) => (Math.sign(delta) + 1) / 2;

  /** numpy.quantile of sorted values. */
  function quantile(sorted, q) {
    const place = q * (sorted.length - 1);
    const below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  }

  /** 97.5 % point of Student's distribution with n - 1 degrees of freedom (Abramowitz and Stegun, 26.7.5). */
  function student95(n) {
    const v = n - 1;
    const [z3, z5, z7] = [3, 5, 7].map((power) => Z ** power);
    return Z + (z3 + Z) / (4 * v) + (5 * z5 + 16 * z3 + 3 * Z) / (96 * v ** 2)
      + (3 * z7 + 19 * z5 + 17 * z3 - 15 * Z) / (384 * v ** 3);
  }

  /** Share of hits with Wilson's interval for clusters, as `share` of rlhf_core.metrics.estimates. */
  function share(prompts, isHit) {
    const flags = prompts.map((margins) => margins.map(isHit));
    const all = flags.flat();
    const [n, value] = [prompts.length, mean(all)];
    const trials = value === 0 || value === 1
      ? student95(n) ** 2 * n / Z ** 2
      : value * (1 - value) / (n / (n - 1) * sum(flags.map((own) => (sum(own.map((flag) => flag - value)) / all.length) ** 2)));
    const spread = student95(n) ** 2 / trials;
    const middle = (value + spread / 2) / (1 + spread);
    const half = Math.sqrt(spread * value * (1 - value) + spread ** 2 / 4) / (1 + spread);
    return { value, lower: Math.max(middle - half, 0), upper: Math.min(middle + half, 1), n };
  }

  /** How often each of n prompts is drawn in each resample; always the same for an n. */
  const draws = (() => {
    const kept = new Map();
    return (n) => {
      if (!kept.has(n)) {
        const random = randomStream(n);
        kept.set(n, Array.from({ length: RESAMPLES }, () => {
          const counts = new Uint16Array(n);
          for (let draw = 0; draw < n; draw++) counts[Math.floor(random() * n)] += 1;
          return counts;
        }));
      }
      return kept.get(n);
    };
  })();

  /** A statistic of how often each prompt was drawn, with its stretched percentile interval (`resampling_interval`). */
  function resampled(n, statistic) {
    const value = statistic(new Uint16Array(n).fill(1));
    const sorted = Float64Array.from(draws(n), statistic).sort();
    const stretch = Math.sqrt(n / (n - 1)) * student95(n) / Math.min(Z, Math.sqrt(n * (n - 1)));
    const end = (q) => value + stretch * (quantile(sorted, q) - value);
    return { value, lower: end(0.025), upper: end(0.975), n };
  }

  /** Mean over pairs of what `worth` gives for each margin. */
  function clusteredMean(prompts, worth) {
    const totals = prompts.map((margins) => sum(margins.map(worth)));
    const sizes = prompts.map((margins) => margins.length);
    return resampled(prompts.length, (counts) => {
      let [total, size] = [0, 0];
      for (let i = 0; i < counts.length; i++) {
        total += counts[i] * totals[i];
        size += counts[i] * sizes[i];
      }
      return total / size;
    });
  }

  const overconfidenceGap = (prompts) =>
    clusteredMean(prompts, (delta) => sigmoid(Math.abs(delta)) - hit(delta));

  const shareInBand = (prompts) =>
    share(prompts, (delta) => Number(Math.abs(delta) >= BAND[0] && Math.abs(delta) <= BAND[1]));

  /** The bin of each claimed accuracy, ten of equal mass. */
  function binsOf(claims) {
    const sorted = Float64Array.from(claims).sort();
    const edges = Array.from({ length: BINS - 1 }, (_, i) => quantile(sorted, (i + 1) / BINS));
    return claims.map((claim) => edges.filter((edge) => edge <= claim).length);
  }

  /** Expected calibration error with its basic interval, as `expected_calibration_error`. */
  function calibrationError(prompts) {
    const bins = binsOf(prompts.flat().map((delta) => sigmoid(Math.abs(delta))));
    let pair = 0;
    const gaps = prompts.map((margins) => {
      const own = new Float64Array(BINS);
      for (const delta of margins) own[bins[pair++]] += sigmoid(Math.abs(delta)) - hit(delta);
      return own;
    });
    const { value, lower, upper, n } = resampled(prompts.length, (counts) => {
      const totals = new Float64Array(BINS);
      let size = 0;
      for (let i = 0; i < counts.length; i++) {
        if (counts[i] === 0) continue;
        size += counts[i] * prompts[i].length;
        for (let bin = 0; bin < BINS; bin++) totals[bin] += counts[i] * gaps[i][bin];
      }
      return sum(totals.map(Math.abs)) / size;
    });
    return { value, lower: Math.max(2 * value - upper, 0), upper: Math.max(2 * value - lower, value), n };
  }

  /** Points of a standard normal distribution above 1/2 (Acklam, 2003; relative error 1e-9). */
  function normalQuantile(p) {
    if (p > 0.97575) {
      const q = Math.sqrt(-2 * Math.log(1 - p));
      const c = [-7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783];
      const d = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1];
      return -horner(c, q) / horner(d, q);
    }
    const a = [-3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2, -3.066479806614716e1, 2.506628277459239];
    const b = [-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1, 1];
    const r = (p - 0.5) ** 2;
    return (p - 0.5) * horner(a, r) / horner(b, r);
  }
  const horner = (coefficients, x) => coefficients.reduce((value, coefficient) => value * x + coefficient, 0);

  /** Spreads s of margins N(0, s^2) with the accuracy E sigmoid(|delta|) of each. */
  const calibratedModels = (() => {
    let kept = null;
    return () => {
      if (kept === null) {
        const sizes = Float64Array.from({ length: 500 }, (_, i) => normalQuantile((i + 0.5) / 1000 + 0.5));
        const spreads = Float64Array.from({ length: 3000 }, (_, i) => 1e-3 + i * (30 - 1e-3) / 2999);
        kept = { spreads, accuracies: spreads.map((spread) => mean(sizes.map((size) => sigmoid(spread * size)))) };
      }
      return kept;
    };
  })();

  /** Median |delta| of a calibrated reward model with this accuracy, at most the end of the band. */
  function expectedMedian(accuracy) {
    return Math.min(QUARTILE * calibratedSpread(accuracy), BAND[1]);
  }

  /** Standard deviation of the margins of a calibrated reward model with this accuracy. */
  function calibratedSpread(accuracy) {
    const { spreads, accuracies } = calibratedModels();
    let low = 0;
    let high = spreads.length - 1;
    if (accuracy <= accuracies[low]) return spreads[low];
    if (accuracy >= accuracies[high]) return spreads[high];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (accuracies[middle] <= accuracy) low = middle;
      else high = middle;
    }
    const part = (accuracy - accuracies[low]) / (accuracies[high] - accuracies[low]);
    return spreads[low] + part * (spreads[high] - spreads[low]);
  }

  /** Median |delta| over that of a calibrated reward model of this accuracy, as `abs_delta_ratio`. */
  function absDeltaRatio(prompts) {
    const rows = prompts.flatMap((margins, prompt) => margins.map((delta) => ({ prompt, size: Math.abs(delta), hit: hit(delta) })));
    rows.sort((first, second) => first.size - second.size);
    return resampled(prompts.length, (counts) => {
      let [weight, hits] = [0, 0];
      for (const row of rows) {
        weight += counts[row.prompt];
        hits += counts[row.prompt] * row.hit;
      }
      let [at, below] = [0, counts[rows[0].prompt]];
      while (below < weight / 2) below += counts[rows[++at].prompt];
      return rows[at].size / expectedMedian(hits / weight);
    });
  }

  /** The figures that the gates on |delta| judge; `ece` after the temperature, all else as trained. */
  function marginFigures(prompts, temperature) {
    return {
      agreement: share(prompts, hit),
      share_in_band: shareInBand(prompts),
      abs_delta_ratio: absDeltaRatio(prompts),
      overconfidence_gap: overconfidenceGap(prompts),
      ece: calibrationError(prompts.map((margins) => margins.map((delta) => delta / temperature))),
    };
  }

  /** What a gate says of a figure: its whole interval must be beyond the threshold. */
  function judge(gate, figure) {
    if (figure.n < gate.min_samples) return "abstain";
    return (gate.direction === "above" ? figure.lower > gate.threshold : figure.upper < gate.threshold) ? "pass" : "fail";
  }

  return {
    BAND, sum, mean, sigmoid, softplus, randomStream, pairsOf, preference, bradleyTerryLoss, gradientStep, ceiling,
    expectedAgreement, expectedLoss, fittedScores, bestUnderBeta, withinBudget, peak, quantile, student95, binsOf,
    normalQuantile, expectedMedian, marginFigures, judge,
  };
})();

if (typeof module !== "undefined") module.exports = mathematics;
