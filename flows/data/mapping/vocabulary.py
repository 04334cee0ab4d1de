"""Words by which people name the columns of what they had labelled."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


RESPONSE = _words(
    "response responses answer answers completion completions output outputs reply replies candidate candidates "
    "generation "
    "generations gen resp ans ref continuation summary summaries text option conversation dialogue chat solution "
    "translation story"
)

WHAT_IS_SAID = RESPONSE | _words("content body value message")
"""Words of the field of an object that holds its text."""

PROMPT = tuple(
    word
    for line in (
        "prompt prompts instruction instructions question query ask messages conversation dialogue user human task",
        "request input message context article post title text",
    )
    for word in line.split()
)
"""Words of a prompt, the surest first."""

NO_PROMPT_ALONE = _words("text title article post context message input")
"""Words of a prompt that say too little where nothing answers it."""

SYSTEM = _words("system sys preamble persona")
BESIDE_SYSTEM = _words("prompt message instruction instructions text msg content")
BELOW_PROMPT = _words("input context passage document background article")
HISTORY = _words("history previous earlier context conversation dialogue turns messages")
ANSWER = (RESPONSE | _words("ideal gold target demonstration assistant")) - _words("conversation chat")
SPEAKER = _words("user human turn turns annotator rater")

MEASURE = _words(
    "token tokens length len words time duration latency url hash date type version cost category language lang "
    "source split "
    "round batch index number strength"
)
ABOUT = MEASURE | _words("id ids score scores rating ratings rank ranks reward vote votes count")
"""Words of columns that say something about a text."""

MODEL = _words("model models name names source engine generator policy system provider llm")
SCORE = _words("score scores rating ratings reward rewards grade grades points stars quality overall mos")
RANK = _words("rank ranks ranking rankings position place")
PLACE = _words("position place")
"""Of items of a list they are as likely where it was shown."""

COUNT = _words("vote votes count counts wins")
TICK = _words("winner wins win won preferred prefers prefer better chosen best choice selected vote on")
BETTER = _words("better best safer preferred winner")
TIE = _words("tie ties tied equal draw")
LABEL = _words(
    "label labels preference preferences pref preferred prefer prefers winner win verdict choice chosen better "
    "best overall "
    "judgment judgement selected selection comparison decision vote votes likert annotation result pick picked "
    "side slider scale which"
)
ANNOTATOR = _words(
    "annotator annotators rater raters worker workers labeler labeller labelers judge reviewer evaluator grader "
    "participant "
    "contractor crowdworker assessor respondent prolific expert turker coder"
)
IDENTITY = _words("id pid name email")
PERSON = ("email", "username", "user", "person", "by")
GRADE = _words("strength margin degree magnitude intensity")
CONTROL = MEASURE | RANK | _words("count counts golden gold hint confidence difficulty status")
REMARK = _words("comment comments reason reasons rationale explanation justification notes note feedback")
OF_ONE_THING = _words(
    "helpfulness helpful safety safe harmless harmlessness honesty accuracy correctness fluency relevance style tone "
    "coherence truthfulness factuality verbosity complexity clarity formatting instruction following quality"
)
"""Words of labels that are about one side of the responses and not about all."""
