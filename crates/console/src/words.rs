//! Every word of the pages, in English and Korean: a word that lacks one of them does not compile.

/// The language of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lang {
    /// English.
    En,
    /// Korean.
    Ko,
}

impl Lang {
    /// Both, in the order of what is kept for each.
    pub const ALL: [Self; 2] = [Self::En, Self::Ko];

    /// As addresses and documents name it.
    pub fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ko => "ko",
        }
    }

    /// From its code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lang| lang.code() == code)
    }

    /// What a browser prefers: the first that is one of ours, by its order.
    pub fn accepted(header: &str) -> Option<Self> {
        header.split(',').find_map(|part| Self::from_code(part.trim().get(..2)?))
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::En => Self::Ko,
            Self::Ko => Self::En,
        }
    }

    /// Its words.
    pub fn words(self) -> &'static Words {
        match self {
            Self::En => &EN,
            Self::Ko => &KO,
        }
    }
}

impl Words {
    /// A mode of the relay's, in a word; one that is new here as it is.
    pub fn mode<'m>(&'static self, mode: &'m str) -> &'m str {
        match mode {
            "duplex" => self.mode_duplex,
            "solo" => self.mode_solo,
            "stopped" => self.mode_stopped,
            other => other,
        }
    }
}

macro_rules! words {
    ($($name:ident: $en:literal, $ko:literal;)*) => {
        /// Every word, by what it is for.
        #[allow(missing_docs, reason = "each is its own English")]
        pub struct Words {
            $(pub $name: &'static str,)*
        }
        static EN: Words = Words { $($name: $en,)* };
        static KO: Words = Words { $($name: $ko,)* };
    };
}

words! {
    day: "The day", "오늘";
    plans: "Plans", "계획";
    questions: "SQL", "SQL";
    log_in: "Log in", "로그인";
    log_out: "Log out", "로그아웃";
    language: "한국어", "English";
    theme: "Theme", "화면 색";
    theme_auto: "as the system", "시스템 설정";
    theme_light: "light", "밝게";
    theme_dark: "dark", "어둡게";
    skip: "Skip to the content", "본문으로 건너뛰기";
    live: "live", "실시간";
    paused: "no connection to the console", "콘솔과 연결 끊김";
    keys: "Keys", "단축키";
    keys_text: "1 2 3 range · ← → crosshair on a chart · Esc whole range · t theme · l language", "1 2 3 구간 · ← → 차트에서 시점 이동 · Esc 전체 구간 · t 화면 색 · l 언어";

    range: "Range", "구간";
    minutes_5: "5 min", "5분";
    minutes_15: "15 min", "15분";
    hour_1: "1 hour", "1시간";
    classes: "Classes", "등급";
    sites: "Sites", "사이트";
    core: "core", "핵심";
    open: "open", "개방";
    all_well: "All is well", "모두 정상";
    to_look_at: "to look at", "건 확인 필요";
    nothing_to_look_at: "Nothing needs anybody now.", "지금 조치할 것이 없습니다.";

    requests: "Requests", "요청";
    per_second: "/s", "/초";
    per_minute: "/min", "/분";
    free_room: "Free room, open traffic", "여유, 개방 트래픽";
    waiting: "Waiting room", "대기실";
    people: "people", "명";
    the_log: "The log", "로그";
    the_tables: "Tables", "테이블";
    money: "Money", "비용";
    booked: "booked", "예약";
    used: "used", "사용";
    budget: "budget", "예산";
    bill: "the cloud's own bill", "클라우드 청구액";
    machines: "machines", "대";
    stop_sending: "campaigns are told to stop", "캠페인 발송 중지 신호";

    chart_class: "Requests a second, by class", "등급별 초당 요청";
    chart_site: "Requests a second, by site", "사이트별 초당 요청";
    chart_room: "Free room, % of slots", "여유, 슬롯의 %";
    chart_waiting: "People in the waiting room", "대기실 인원";
    chart_lag: "Behind the gate: records that a side lacks", "게이트 지연: 한쪽에 없는 레코드 수";
    chart_behind: "Tables behind the log, records", "로그보다 뒤처진 테이블, 레코드 수";
    chart_sent: "Messages a minute", "분당 발송";
    no_points: "No numbers yet.", "아직 수치가 없습니다.";

    site: "Site", "사이트";
    in_flight: "Slots in flight", "처리 중인 슬롯";
    servers: "Servers", "서버";
    state: "State", "상태";
    owned: "owned", "자체";
    rented: "rented", "임대";
    takes: "takes requests", "요청 받음";
    drains: "drains", "비우는 중";
    plan_in_force: "plan in force", "적용 중인 계획";
    no_plan: "no plan in force", "적용 중인 계획 없음";
    decisions: "decisions recorded", "기록된 결정";
    undecided: "core requests without a record", "기록 없는 핵심 요청";

    side: "Side", "사이드";
    active: "active", "활성";
    standby: "standby", "대기";
    in_sync: "in sync", "동기화됨";
    not_in_sync: "not in sync", "동기화 안 됨";
    absent_for: "absent for", "응답 없음";
    behind: "behind", "뒤처짐";
    records: "records", "레코드";
    duplex: "duplex: acknowledged when both sides have it", "이중화: 양쪽에 있어야 승인";
    solo: "solo: one side acknowledges alone", "단독: 한쪽만으로 승인";
    stopped_mode: "stopped: nothing is acknowledged", "멈춤: 승인하지 않음";
    mode_duplex: "duplex", "이중화";
    mode_solo: "solo", "단독";
    mode_stopped: "stopped", "멈춤";
    group: "group", "그룹";
    partitions: "partitions", "파티션";
    last_takeover: "last change of sides", "최근 전환";
    took: "took", "걸린 시간";
    switching: "a planned switch is under way", "계획 전환 진행 중";
    comes_back: "comes back", "복귀 중";

    table: "Table", "테이블";
    rows: "Rows", "행";
    rows_of: "rows", "행";
    fresh: "Behind the log", "로그 대비";
    proof: "Proof", "증명";
    no_audit: "The audit is not connected here: it needs a source database, and says its verdict by naru audit status.", "감사가 연결되지 않았습니다. 원본 데이터베이스가 필요하며, naru audit status 로 확인합니다.";
    dead_letters: "dead letters", "제외된 레코드";
    up_to_date: "nothing missing", "모두 반영";
    running: "running", "실행 중";
    no_tables: "No tables yet: they begin with the first record.", "아직 테이블이 없습니다. 첫 레코드와 함께 생깁니다.";

    campaign: "Campaign", "캠페인";
    no_campaign: "No campaign was taken on.", "등록된 캠페인이 없습니다.";
    sending: "sending", "발송 중";
    settling: "all is sent, receipts are awaited", "발송 완료, 수신 확인 대기";
    over: "over", "종료";
    stopped: "stopped", "중지";
    delivered: "delivered", "도달";
    sent: "sent", "발송";
    failed: "failed", "실패";
    read_so_far: "read from the file so far", "파일에서 지금까지 읽음";
    in_doubt: "in doubt", "결과 불명";
    pace: "pace", "속도";
    pace_by: "set by", "결정 요인";
    notices: "notifications", "알림";

    incidents: "Incidents", "장애";
    no_incidents: "No incident.", "장애가 없습니다.";
    no_watch: "No watch is connected: incidents are not detected here. Alarms of the roles themselves stand above.", "감시 역할이 연결되지 않아 장애를 탐지하지 않습니다. 각 역할의 경보는 위에 있습니다.";
    since: "since", "시작";
    lasted: "until", "종료";
    acknowledged: "taken on by", "담당";
    drafted: "postmortem: ", "사후 보고서: ";
    runs_out: "What runs out", "소진 예측";
    level: "Level", "수준";
    runs_out_in: "In", "남은 시간";

    roles: "Roles", "역할";
    answers: "answers", "응답";
    away: "no answer", "응답 없음";
    not_connected: "not connected", "연결 안 됨";
    happened: "What happened", "있었던 일";
    nothing_happened: "Nothing since the console was started.", "콘솔 시작 이후 없음";
    invariants: "Invariants that did not hold", "깨진 불변식";

    held: "Held", "보유";
    nothing_held: "Nothing is held.", "보유한 것이 없습니다.";
    asked_for: "Waits for a plan", "계획 대기";
    nothing_asked: "Nothing waits. Ask with: naru request -f FILE", "대기 중인 요청이 없습니다. naru request -f FILE 로 요청합니다.";
    name: "Name", "이름";
    kind: "Kind", "종류";
    team: "Team", "팀";
    what: "What", "내용";
    by: "By", "요청자";
    hours: "Hours", "시간";
    an_hour: "an hour", "시간당";
    whole_lease: "whole lease", "전체 임대";
    why: "Why", "이유";
    until: "Until", "만료";
    ready: "Ready", "준비됨";
    show_price: "Show what it would cost", "비용 보기";
    open_plan: "Open a plan by its hash", "해시로 계획 열기";
    hash: "Hash", "해시";
    open_it: "Open", "열기";
    plan: "Plan", "계획";
    in_all: "in all, leases to their ends", "합계, 임대 만료까지";
    needs_approval: "needs somebody else's approval, for", "다른 사람의 승인 필요:";
    within_limit: "within what the team may spend alone", "팀이 단독으로 쓸 수 있는 범위";
    approved_by: "approved by", "승인자";
    not_approved: "not approved yet", "아직 승인되지 않음";
    applied_by: "applied by", "적용자";
    not_applied: "not applied yet", "아직 적용되지 않음";
    approve: "Approve", "승인";
    apply: "Apply", "적용";
    cheapest: "lowest price an hour", "시간당 최저가";
    this_plan: "this plan", "이 계획";
    ahead: "ahead", "미리";
    on_demand: "on demand", "즉시";
    made_at: "shown first", "처음 표시";
    share_plan: "Whoever is to approve opens this address:", "승인할 사람이 여는 주소:";
    approved_now: "Approved. It stands in control's ledger.", "승인했습니다. 제어 역할의 원장에 기록됩니다.";
    applied_now: "Applied. See how far it is under Held.", "적용했습니다. 진행 상황은 보유 목록에서 확인하세요.";
    compare: "Compare", "비교";
    log_in_first: "Log in to change something.", "변경하려면 로그인하세요.";
    no_control: "Control is not connected.", "제어 역할이 연결되지 않았습니다.";
    sure: "This changes what is held and spends money. Its hash is what is agreed to.", "보유 자원이 바뀌고 비용이 발생합니다. 동의하는 대상은 이 해시입니다.";

    token: "Token", "토큰";
    token_help: "As naru control token add showed it. It stays in the console's memory, and ends with the session.", "naru control token add 가 보여 준 값입니다. 콘솔 메모리에만 있으며 세션과 함께 사라집니다.";
    wrong_token: "Control does not know this token, or it has expired.", "제어 역할이 모르는 토큰이거나 만료되었습니다.";
    reads_only: "read only", "읽기 전용";

    query: "Query", "질의";
    ask_it: "Ask", "실행";
    ask_help: "One statement that reads. Ctrl-Enter asks.", "읽기 전용 문장 하나. Ctrl-Enter 로 실행합니다.";
    result: "Answer", "결과";
    chart: "Chart", "차트";
    chart_help: "The first column that is a time or a number is across, further numbers are lines.", "시간이나 수인 첫 열이 가로축, 나머지 수가 선입니다.";
    share: "Link to this question", "이 질의 링크";
    share_help: "It holds the question, never the answer: whoever opens it asks anew.", "결과가 아니라 질의만 담습니다. 여는 사람이 다시 실행합니다.";
    no_rows: "No rows.", "행이 없습니다.";
    cut: "More rows than are shown here; ask for fewer.", "표시 한도를 넘었습니다. 더 좁혀 질의하세요.";
    no_lake: "The lake's SQL port is not connected.", "레이크의 SQL 포트가 연결되지 않았습니다.";
    log_in_to_ask: "Log in to ask. Whoever is logged in sees what the console's own user of the lake sees.", "질의하려면 로그인하세요. 로그인한 사람은 콘솔의 레이크 사용자가 볼 수 있는 것을 봅니다.";
    examples: "Examples", "예시";

    not_found: "There is no such page.", "없는 페이지입니다.";
    refused: "Refused", "거부됨";
    unanswered: "No answer", "응답 없음";
    again: "The same again is harmless.", "같은 작업을 다시 해도 안전합니다.";
    back: "Back", "뒤로";
    csrf: "This form was open for too long, or came from elsewhere. Open the page again.", "폼이 만료되었거나 다른 곳에서 왔습니다. 페이지를 다시 여세요.";
    busy: "The console is busy. Come again in a moment.", "콘솔이 바쁩니다. 잠시 후 다시 시도하세요.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_that_is_ours_is_taken() {
        let check = |header: &str, expect: Option<Lang>| assert_eq!(Lang::accepted(header), expect, "{header}");
        check("ko-KR,ko;q=0.9,en;q=0.5", Some(Lang::Ko));
        check("en-GB", Some(Lang::En));
        check("de, en;q=0.5", Some(Lang::En));
        check("fr", None);
        check("", None);
        check("ü,é", None);
    }
}
