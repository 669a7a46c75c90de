%% A child that knows which incarnation it is and announces it to `To`, unless that is none.
-module(child).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(To) -> gen_server:start_link(?MODULE, To, []).

init(To) ->
    Counter = persistent_term:get(incarnations),
    counters:add(Counter, 1, 1),
    Incarnation = counters:get(Counter, 1),
    case To of
        none -> ok;
        _ -> To ! {up, Incarnation, self()}
    end,
    {ok, Incarnation}.

handle_call(ping, _From, Incarnation) -> {reply, Incarnation, Incarnation}.

handle_cast(crash, _) -> error(crash).
