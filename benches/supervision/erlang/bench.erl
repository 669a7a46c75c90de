%% The metrics of src/metric.rs for OTP's supervisor; prints one figure.
-module(bench).
-behaviour(supervisor).
-export([main/1, init/1]).

main([Metric]) ->
    logger:set_primary_config(level, none),
    persistent_term:put(incarnations, counters:new(1, [])),
    io:format("~.4f~n", [float(run(Metric))]),
    halt(0, [{flush, true}]).

flags(Strategy) -> #{strategy => Strategy, intensity => 10000000, period => 1}.

announced(Id, To) -> #{id => Id, start => {child, start_link, [To]}}.

init({one, Idle, To}) ->
    {ok, {flags(one_for_one), [announced(N, none) || N <- lists:seq(1, Idle)] ++ [announced(c, To)]}};
init({all, Count, To}) ->
    {ok, {flags(one_for_all), [announced(N, To) || N <- lists:seq(1, Count)]}};
init(simple) ->
    {ok, {flags(simple_one_for_one), [#{id => c, start => {child, start_link, []}}]}}.

start(Init) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, Init),
    Supervisor.

run(kill) -> batches(kill, {one, 0, self()}, 1, 10, 100);
run(kill10k) -> batches(kill, {one, 10000, self()}, 1, 10, 100);
run(crash) -> batches(crash, {one, 0, self()}, 1, 10, 100);
run(all10) -> batches(kill, {all, 10, self()}, 10, 5, 30);
run(cool) ->
    start({one, 0, self()}),
    {First, _} = restarts(kill, ups(0, 1), 20, []),
    {_, Times} = lists:foldl(
        fun(_, {Current, Acc}) ->
            timer:sleep(5),
            restarts(kill, Current, 1, Acc)
        end, {First, []}, lists:seq(1, 400)),
    median(Times);
run(start) ->
    Supervisor = start(simple),
    From = now_ns(),
    Children = children(Supervisor, 10000),
    [gen_server:call(Child, ping, infinity) || Child <- Children],
    thousands(10000, From);
run(call1) ->
    Child = single(),
    ask(Child, 20000),
    From = now_ns(),
    ask(Child, 200000),
    thousands(200000, From);
run(call64) ->
    Child = single(),
    Each = 1000000 div 64,
    From = now_ns(),
    Callers = [spawn_monitor(fun() -> ask(Child, Each) end) || _ <- lists:seq(1, 64)],
    [receive {'DOWN', Ref, process, _, _} -> ok end || {_, Ref} <- Callers],
    thousands(64 * Each, From);
run(memory) ->
    Supervisor = start(simple),
    erlang:garbage_collect(),
    Before = resident_kib(),
    Children = children(Supervisor, 50000),
    timer:sleep(1000),
    Grown = resident_kib() - Before,
    50000 = length(Children),
    Grown * 1024 / 50000.

single() ->
    start({one, 0, self()}),
    [{_, Child}] = ups(0, 1),
    Child.

children(Supervisor, Count) ->
    [begin {ok, Child} = supervisor:start_child(Supervisor, [none]), Child end || _ <- lists:seq(1, Count)].

batches(End, Init, Count, WarmUp, Measured) ->
    start(Init),
    {_, Times} = lists:foldl(
        fun(_, {Current, Acc}) ->
            timer:sleep(2100),
            {Warm, _} = restarts(End, Current, WarmUp, []),
            restarts(End, Warm, Measured, Acc)
        end, {ups(0, Count), []}, lists:seq(1, 5)),
    median(Times).

restarts(_, Current, 0, Acc) -> {Current, Acc};
restarts(End, [{_, Victim} | _] = Current, Count, Acc) ->
    Newest = lists:max([Incarnation || {Incarnation, _} <- Current]),
    From = now_ns(),
    case End of
        kill -> exit(Victim, kill);
        crash -> gen_server:cast(Victim, crash)
    end,
    Next = ups(Newest, length(Current)),
    [Incarnation = gen_server:call(Child, ping, infinity) || {Incarnation, Child} <- Next],
    restarts(End, Next, Count - 1, [now_ns() - From | Acc]).

ups(_, 0) -> [];
ups(Newest, Count) ->
    receive
        {up, Incarnation, Child} when Incarnation > Newest -> [{Incarnation, Child} | ups(Newest, Count - 1)]
    end.

ask(_, 0) -> ok;
ask(Child, Count) ->
    _ = gen_server:call(Child, ping, infinity),
    ask(Child, Count - 1).

now_ns() -> erlang:monotonic_time(nanosecond).

median(Times) -> lists:nth(length(Times) div 2 + 1, lists:sort(Times)) / 1000.

thousands(Count, From) -> Count * 1.0e6 / (now_ns() - From).

resident_kib() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kib]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kib).
