#!/usr/bin/env bash
# Asks the model of the plan: client.sh chat|stream|tools|schema PROMPT...
#
# Answers go to standard output, what they cost to standard error. Exit status 1 when a request
# failed, 2 for unusable arguments or settings, 3 when the limit of costs stands in the way.
# The key is read from the environment and reaches curl through a file that only its user can read and
# that goes with the script, never through an argument.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=/dev/null
. ./plan.sh

readonly ROUNDS=5 CONNECT_S=10 MOST_PAUSE_S=120 LONGEST_ANSWER=33554432
readonly COMMAND=${1:-}

fail() { # fail STATUS MESSAGE
    printf '%s\n' "$2" >&2
    exit "$1"
}

number() { # number NAME DEFAULT: the variable's value when it is one
    local value=${!1:-$2}
    [[ $value =~ ^[0-9]{1,9}(\.[0-9]{1,15})?$ ]] || fail 2 "$1: expected a number from 0 to 999999999"
    printf '%s' "$value"
}

settings() {
    case $COMMAND in
    chat | stream | tools | schema) ;;
    *) fail 2 'usage: client.sh chat|stream|tools|schema PROMPT...' ;;
    esac
    [ $# -ge 2 ] || fail 2 'usage: client.sh chat|stream|tools|schema PROMPT...'
    local tool
    for tool in curl jq; do
        command -v "$tool" >/dev/null || fail 2 "$tool is not installed"
    done
    KEY=
    if [ -n "$KEY_VARIABLE" ]; then
        KEY=${!KEY_VARIABLE:-}
        [[ $KEY =~ ^[[:graph:]]+$ ]] || fail 2 "$KEY_VARIABLE: expected the key, without spaces"
    fi
    URL=${MISTRAL_BASE_URL:-$BASE_URL}
    [[ $URL =~ ^https?:// ]] || fail 2 'MISTRAL_BASE_URL: expected https:// or http://'
    URL=${URL%/}/chat/completions
    case ${MISTRAL_DIALECT:-$DIALECT} in
    mistral) SEED_NAME=random_seed STREAM_OPTIONS=null ;;
    openai) SEED_NAME=seed STREAM_OPTIONS='{"include_usage": true}' ;;
    *) fail 2 'MISTRAL_DIALECT: expected mistral or openai' ;;
    esac
    LIMIT=$(number MISTRAL_USD_LIMIT "$USD_LIMIT")
    TIMEOUT=$(number MISTRAL_TIMEOUT_S 300)
    RETRIES=$(number MISTRAL_RETRIES 4)
    RETRIES=${RETRIES%.*}
}

# Sums of dollars are computed by jq: the shell has no fractions.
SPENT=0 PROMPT_TOKENS=0 ANSWER_TOKENS=0 RESERVED=0

usd() { # usd PROMPT_TOKENS ANSWER_TOKENS
    jq -n "($1 * $USD_PER_MTOK_IN + $2 * $USD_PER_MTOK_OUT) / 1000000"
}

# Sets aside the most that the request could cost: a token for each byte, and the longest answer.
reserve() {
    RESERVED=$(usd "$(wc -c <"$WORK/request")" "$MAX_TOKENS")
    if [ "$(jq -n "$SPENT + $RESERVED > $LIMIT")" = true ]; then
        fail 3 "the limit of $LIMIT USD would be passed: $SPENT USD are spent, and this request may cost $RESERVED USD"
    fi
}

spend() { # spend DOLLARS
    SPENT=$(jq -n "$SPENT + $1")
}

# What was used, from the usage object in $WORK/usage; all that was reserved where there is none.
settle() {
    local prompt answer
    prompt=$(jq -r '.prompt_tokens // empty | floor' "$WORK/usage" 2>/dev/null || true)
    answer=$(jq -r '.completion_tokens // 0 | floor' "$WORK/usage" 2>/dev/null || true)
    if [[ ! $prompt =~ ^[0-9]+$ || ! $answer =~ ^[0-9]+$ ]]; then
        spend "$RESERVED"
        return
    fi
    spend "$(usd "$prompt" "$answer")"
    PROMPT_TOKENS=$((PROMPT_TOKENS + prompt)) ANSWER_TOKENS=$((ANSWER_TOKENS + answer))
}

# The pause after try $1 in seconds: what the server asks for, else a time that doubles, half of it
# by chance.
pause() {
    local asked until
    asked=$(tr -d '\r' <"$WORK/head" 2>/dev/null | sed -n 's/^[Rr]etry-[Aa]fter: *//p' | tail -n 1)
    if [[ $asked =~ ^[0-9]{1,9}$ ]]; then
        printf '%s' "$asked"
    elif [ -n "$asked" ] && until=$(date -d "$asked" +%s 2>/dev/null); then
        until=$((until - $(date +%s)))
        printf '%s' $((until > 0 ? until : 0))
    else
        local doubled=$((500 << ($1 < 7 ? $1 - 1 : 6)))
        doubled=$((doubled < 30000 ? doubled : 30000))
        jq -rn "($doubled / 2 + $RANDOM * $doubled / 65534) / 1000"
    fi
}

# Sends $WORK/request until an answer begins; its body goes to standard output.
# curl's own status is 0, its exit is in $WORK/exit, the HTTP status in $WORK/head.
once() {
    local status=0
    : >"$WORK/head"
    local header=()
    [ -z "$KEY" ] || header=(--header "@$WORK/header")
    curl --silent --show-error --no-buffer --http1.1 --max-redirs 0 --fail-with-body \
        --connect-timeout "$CONNECT_S" --max-time "$TIMEOUT" --max-filesize "$LONGEST_ANSWER" \
        --header 'content-type: application/json' ${header[@]+"${header[@]}"} \
        --dump-header "$WORK/head" --data-binary "@$WORK/request" "$URL" 2>"$WORK/error" || status=$?
    printf '%s' "$status" >"$WORK/exit"
}

http_status() {
    sed -n 's|^HTTP/[0-9.]* \([0-9][0-9]*\).*|\1|p' "$WORK/head" | tail -n 1
}

# Whether another try may help after try $1; leaves when none may.
again() {
    local status exit problem wait
    status=$(http_status) exit=$(cat "$WORK/exit")
    problem="status ${status:-none} after $1 tries: $(head -c 500 "$WORK/answer" | tr -c '[:print:]' ' ')$(tr -c '[:print:]' ' ' <"$WORK/error")"
    case $status in
    2??) return 1 ;;
    '')
        # Refused or unknown hosts (6, 7) cost nothing; otherwise the server may have worked on it.
        case $exit in 6 | 7) ;; *) spend "$RESERVED" ;; esac
        ;;
    408 | 429 | 500 | 502 | 503 | 504) ;;
    *) fail 1 "$problem" ;;
    esac
    [ "$1" -le "$RETRIES" ] || fail 1 "$problem"
    wait=$(pause "$1")
    [ "${wait%.*}" -le "$MOST_PAUSE_S" ] || fail 1 "the server asks to wait $wait s; $problem"
    sleep "$wait"
}

# The body of a request: the messages so far and what the plan says, with the fields of $1.
request() {
    jq -n --slurpfile messages "$WORK/messages" --arg model "$MODEL" --argjson more "$1" \
        --argjson seed "$SEED" --arg seed_name "$SEED_NAME" \
        "{model: \$model, messages: \$messages, temperature: $TEMPERATURE, top_p: $TOP_P,
          max_tokens: $MAX_TOKENS} + (if \$seed == null then {} else {(\$seed_name): \$seed} end)
          + \$more" >"$WORK/request"
}

# A whole answer; its message goes to $WORK/message.
ask() { # ask FIELDS
    local tries=0
    request "$1"
    while :; do
        reserve
        tries=$((tries + 1))
        once >"$WORK/answer"
        again "$tries" || break
    done
    jq '.usage // {}' "$WORK/answer" >"$WORK/usage" 2>/dev/null || : >"$WORK/usage"
    settle
    [ "$(cat "$WORK/exit")" = 0 ] || fail 1 "half an answer: $(cat "$WORK/error")"
    jq -ce '.choices[0].message | select(type == "object")' "$WORK/answer" >"$WORK/message" 2>/dev/null ||
        fail 1 'an answer of another form'
}

# The text of the message in $WORK/message, thoughts left out.
text() {
    jq -j '.content | if type == "array" then map(select(.type == "text").text) | join("")
           else . // "" end' "$WORK/message"
}

# Streams an answer to standard output; its message goes to $WORK/message.
stream() {
    local tries=0 line data ended
    request "$(jq -n --argjson o "$STREAM_OPTIONS" '{stream: true} + (if $o then {stream_options: $o} else {} end)')"
    while :; do
        reserve
        tries=$((tries + 1)) ended=
        : >"$WORK/events"
        : >"$WORK/answer"
        while IFS= read -r line; do
            line=${line%$'\r'}
            case $line in
            'data: [DONE]' | 'data:[DONE]') ended=yes ;;
            data:*)
                data=${line#data:}
                printf '%s\n' "$data" >>"$WORK/events"
                jq -j '.choices[0].delta.content | if type == "array"
                       then map(select(.type == "text").text) | join("") else . // "" end' \
                    <<<"$data" 2>/dev/null || fail 1 'an event of another form'
                ;;
            *) printf '%s\n' "$line" >>"$WORK/answer" ;;
            esac
        done < <(once)
        again "$tries" || break
    done
    printf '\n'
    jq -c 'select(.usage).usage' "$WORK/events" | tail -n 1 >"$WORK/usage"
    settle
    [ -n "$ended" ] || fail 1 "the stream was cut: $(cat "$WORK/error")"
    jq -cs '{role: "assistant", content: (map(.choices[0].delta.content
             | if type == "array" then map(select(.type == "text").text) | join("") else . // "" end)
             | join(""))}' "$WORK/events" >"$WORK/message"
}

# Lets the model call functions until it answers.
tools() {
    local tool round
    tool='{"tools": [{"type": "function", "function": {"name": "word_count",
        "description": "Counts the words of a text.", "parameters": {"type": "object",
        "properties": {"text": {"type": "string"}}, "required": ["text"],
        "additionalProperties": false}}}]}'
    for ((round = 0; round < ROUNDS; round++)); do
        ask "$tool"
        [ "$(jq '.tool_calls // [] | length' "$WORK/message")" != 0 ] || break
        cat "$WORK/message" >>"$WORK/messages"
        jq -c '.tool_calls[] | (.function.arguments | if type == "string"
                 then (try fromjson catch null) else . end) as $given
               | {role: "tool", tool_call_id: (.id // ""), name: .function.name, content:
                   (if .function.name != "word_count" then {error: "no such function"}
                    elif ($given.text? | type) != "string" then {error: "expected a text"}
                    else {words: ([$given.text | splits("\\s+") | select(. != "")] | length)} end
                    | tojson)}' "$WORK/message" >>"$WORK/messages"
    done
    [ "$round" -lt "$ROUNDS" ] || ask '{}'
    text
    printf '\n'
}

# An answer that follows a schema.
schema() {
    ask '{"response_format": {"type": "json_schema", "json_schema": {"name": "summary",
        "strict": true, "schema": {"type": "object", "properties": {"title": {"type": "string"},
        "keywords": {"type": "array", "items": {"type": "string"}},
        "mood": {"type": "string", "enum": ["good", "bad", "neither"]}},
        "required": ["title", "keywords", "mood"], "additionalProperties": false}}}}'
    text | jq -ce 'select((keys == ["keywords", "mood", "title"]) and (.title | type == "string")
        and (.keywords | type == "array" and all(type == "string"))
        and (.mood | IN("good", "bad", "neither")))' 2>/dev/null ||
        fail 1 "an answer that doesn't follow the schema"
}

report() {
    local usd
    usd=$(jq -rn "$SPENT * 1000000 | round / 1000000" 2>/dev/null || printf '%s' "$SPENT")
    printf 'spent %s of %s USD: %s prompt and %s answer tokens\n' \
        "$usd" "$LIMIT" "$PROMPT_TOKENS" "$ANSWER_TOKENS" >&2
    rm -rf "$WORK"
}

settings "$@"
shift
WORK=$(mktemp -d)
trap report EXIT
if [ -n "$KEY" ]; then
    (umask 077 && printf 'authorization: Bearer %s\n' "$KEY" >"$WORK/header")
fi
: >"$WORK/messages"
# Each prompt is a turn of one conversation.
for prompt in "$@"; do
    printf '%s' "$prompt" | jq -Rsc '{role: "user", content: .}' >>"$WORK/messages"
    case $COMMAND in
    chat)
        ask '{}'
        text
        printf '\n'
        ;;
    *) "$COMMAND" ;;
    esac
    cat "$WORK/message" >>"$WORK/messages"
done
