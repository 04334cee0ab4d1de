// Holds the mathematics of the teaching pages to the golden numbers: node explain_check.js MATHEMATICS RECORDED GOLDEN
"use strict";
const path = require("path");
const [mathematics, recorded, golden] = process.argv.slice(2).map((file) => require(path.resolve(file)));

const wrong = [];
let checked = 0;

function close(name, found, wanted, tolerance) {
  checked += 1;
  if (!(Math.abs(found - wanted) <= tolerance)) wrong.push(`${name}: ${found}, not ${wanted}`);
}

function same(name, found, wanted) {
  checked += 1;
  if (found !== wanted) wrong.push(`${name}: ${found}, not ${wanted}`);
}

for (const [margin, loss] of golden.losses) close(`loss of ${margin}`, mathematics.bradleyTerryLoss(margin), loss, 1e-12);

const { rate, picks, scores } = golden.rounds;
const trained = picks.reduce((own, [winner, loser]) => mathematics.gradientStep(own, winner, loser, rate), [0, 0, 0, 0]);
trained.forEach((score, i) => close(`score ${i} after ${picks.length} rounds`, score, scores[i], 1e-12));

for (const { hidden, careless, ceiling, guess, agreement, loss, fitted } of golden.truths) {
  const told = `of ${hidden} with ${careless}`;
  close(`ceiling ${told}`, mathematics.ceiling(hidden, careless), ceiling, 1e-12);
  close(`agreement ${told}`, mathematics.expectedAgreement(guess, hidden, careless), agreement, 1e-12);
  close(`expected loss ${told}`, mathematics.expectedLoss(guess, hidden, careless), loss, 1e-12);
  mathematics.fittedScores(hidden, careless).forEach((score, i) => close(`end of score ${i} ${told}`, score, fitted[i], 1e-4));
}

for (const { annotators, seed, betas, budgets } of golden.leash) {
  const { curve } = recorded.runs.find((run) => run.annotators === annotators && run.seed === seed);
  for (const [beta, state] of betas) same(`state by beta ${beta}, ${annotators} ${seed}`, mathematics.bestUnderBeta(curve, beta), state);
  for (const [nats, state] of budgets) same(`state by ${nats} nats, ${annotators} ${seed}`, mathematics.withinBudget(curve, nats), state);
}

for (const [accuracy, median] of golden.medians) close(`calibrated median at ${accuracy}`, mathematics.expectedMedian(accuracy), median, 1e-7);

for (const { gate, said } of golden.verdicts) {
  const known = recorded.gates.find((own) => own.name === gate);
  for (const [figure, status] of said) same(`${gate} of ${JSON.stringify(figure)}`, mathematics.judge(known, figure), status);
}

// Intervals by resampling have chance of their own: a twelfth of their width. The share's has none.
for (const { dial, figures, verdicts } of golden.dials) {
  const prompts = recorded.margins.prompts.map((margins) => margins.map((margin) => margin * 1e-5 * dial));
  const found = mathematics.marginFigures(prompts, recorded.margins.temperature * dial);
  for (const [name, wanted] of Object.entries(figures)) {
    const exact = name === "agreement" || name === "share_in_band";
    const slack = exact ? 1e-9 : (wanted.upper - wanted.lower) / 12;
    close(`${name} x ${dial}`, found[name].value, wanted.value, 1e-7);
    for (const end of ["lower", "upper"]) close(`${end} of ${name} x ${dial}`, found[name][end], wanted[end], slack);
    same(`n of ${name} x ${dial}`, found[name].n, wanted.n);
  }
  for (const gate of recorded.gates) same(`${gate.name} x ${dial}`, mathematics.judge(gate, found[gate.metric]), verdicts[gate.name]);
}

console.log(wrong.length ? wrong.join("\n") : `${checked} numbers agree`);
process.exitCode = wrong.length ? 1 : 0;
