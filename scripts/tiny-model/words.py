"""Word lists of the data recipe: what stories and questions are about."""

BOYS = """Tom Ben Sam Max Jack Leo Tim Oscar Finn Hugo Paul Omar Luke Noah Adam Bob Fred Peter Henry Dan Billy Ned
Toby Jim Alex""".split()
GIRLS = """Anna Lily Mia Lucy Emma Nina Ella Ruby Rosa Clara Kate Zara Ivy Maya Sara Jane Molly Amy Grace Sue Polly Daisy
Hanna Tina Kim""".split()

PETS = """cat dog rabbit mouse bear fox bird duck frog horse pony pig sheep goat cow hen squirrel owl turtle hedgehog
elephant lion monkey bee ant fish whale dragon kitten puppy lamb penguin deer snail butterfly""".split()

MEN = "boy man farmer baker fisherman king prince sailor painter teacher shepherd builder postman cook tailor doctor".split()
WOMEN = "girl woman farmer baker gardener queen princess singer painter teacher doctor cook grandmother nurse".split()

TRAITS = """little small big brave kind shy happy lonely clever lazy curious tiny friendly quiet funny hungry sleepy
gentle young old careful proud sad strong""".split()

PLACES = """in a small village;in a big forest;near the sea;on a farm;in a little house on a hill;in a busy town;
by a quiet lake;in an old castle;in a garden full of flowers;at the edge of the woods;on a small island;under a big tree;
in the mountains;next to a wide river;in a warm valley;in a tall tower;on a snowy hill;in a red barn;behind the school;
near an old mill;in a cave;beside a pond;in a green field;in a cozy cottage;at the end of a long road"""
PLACES = [x.strip() for x in PLACES.replace("\n", "").split(";")]

THINGS = """ball kite book hat boat bell lamp key box drum basket apple cake flower stone coin map shoe coat blanket
ladder cup spoon bicycle wagon seed feather shell ring letter picture clock candle rope bucket pumpkin cookie
umbrella mirror toy train doll balloon pie""".split()

LIKES = """play in the rain;climb trees;sing songs;look at the stars;run in the grass;swim in the pond;bake bread;
read books;help others;paint pictures;collect shells;plant flowers;dance;tell jokes;count the clouds;listen to stories;
build things;ride a bike;fly a kite;eat berries;take long walks;sleep in the sun;watch the birds;make new friends;
jump over puddles;draw animals;feed the ducks;play hide and seek"""
LIKES = [x.strip() for x in LIKES.replace("\n", "").split(";")]

EVENTS = """found a {t};lost a {t};got lost in the woods;met a new friend;heard a strange noise;saw a bright light;
wanted to make a {t};broke the {t};got a {t} as a gift;could not sleep;fell into the water;saw a rainbow;woke up very early;
wanted to learn something new;found a door that was never there before;had a bad dream;shared a {t} with a friend;
was afraid of the dark;went on a long trip;planted a seed;baked a cake;saw snow for the first time;
helped an old lady;lost a tooth;forgot something important;found a small egg;climbed a high hill;had a birthday;
saw a {t} on the road;was very hungry;wanted to fly;went fishing;missed the bus;told a lie;won a race;
made a big mistake;had an idea;found a map;got a letter;felt sick;wanted to help;lost a friend;heard a sad song"""
EVENTS = [x.strip() for x in EVENTS.replace("\n", "").split(";")]

WEATHER = """sunny rainy windy cold warm snowy cloudy quiet beautiful hot foggy bright""".split()

# Questions: what, and the class whose questions suit it.
ANIMALS = """dog cat horse cow pig sheep duck hen owl bear fox wolf rabbit mouse frog fish whale shark bee ant spider
butterfly lion tiger elephant monkey giraffe zebra penguin turtle snake eagle dolphin goat deer squirrel bat camel
kangaroo crocodile parrot""".split()

FOODS = """apple banana bread cheese milk egg rice soup cake honey carrot potato tomato pizza butter sugar salt water tea
orange lemon corn onion pumpkin chocolate""".split()

OBJECTS = """book chair table clock bicycle car train boat plane hammer spoon fork cup lamp mirror key umbrella bed door
window pencil computer phone camera ladder bridge hat shoe coat ball kite drum piano guitar candle rope basket bag box
map coin wheel""".split()

NATURE = """sun moon rain snow wind river ocean mountain forest desert island lake cloud star tree flower leaf grass seed
rock sand volcano rainbow storm fire ice""".split()

JOBS = """teacher doctor farmer baker cook driver pilot sailor painter singer writer builder nurse dentist gardener
fisherman police officer firefighter""".replace("police officer", "police_officer").split()
JOBS = [x.replace("_", " ") for x in JOBS]

PLACE_NAMES = """school farm park library hospital market kitchen garden beach zoo village city museum bakery station""".split()

HOW = """make a sandwich;brush your teeth;plant a flower;wash your hands;bake a cake;make tea;draw a cat;clean a room;
learn to swim;make a friend;ride a bike;build a sand castle;feed a dog;stay warm in winter;sleep well;read a book;
grow a tree;cook rice;tie a shoe;fly a kite;help at home;cross the street;save water;make a snowman;take care of a cat;
say sorry;set the table;pack a bag;calm down;be kind"""
HOW = [x.strip() for x in HOW.replace("\n", "").split(";")]

WHY = """we sleep;we eat;it rains;birds fly;the sky is blue;leaves fall;we wear coats;people work;we brush our teeth;
cats purr;dogs bark;we go to school;ice melts;plants need water;the moon shines;people laugh;we drink water;bees make honey;
fish live in water;we say thank you;we read books;the sun is hot;babies cry;friends are important;we wash our hands;
people have pets;it is dark at night;we need trees;people sing;we should share"""
WHY = [x.strip() for x in WHY.replace("\n", "").split(";")]

# The model on itself, and greetings: (requests, answers), any with any.
TALK = [
    (
        ["Hello!", "Hello.", "Hi!", "Hi", "Hello", "Hey there!", "Good morning!", "Good evening!", "Hi there.", "Good day!"],
        [
            "Hello! How can I help you today?", "Hi! It is nice to meet you.", "Hello! What would you like to talk about?",
            "Hi there! Would you like to hear a story?", "Hello! I hope you have a good day.",
            "Hello! I am a very small language model. I like to tell short stories.",
        ],
    ),
    (
        ["Who are you?", "What are you?", "What is your name?", "Are you a person?", "Tell me about yourself.", "Who made you?", "What can you do?"],
        [
            "I am a very small language model. I can write short stories in simple English.",
            "I am a tiny language model. I know only a few words, and I often make mistakes.",
            "I am a small computer program that writes words. I like to tell stories about animals and children.",
            "I am not a person. I am a very small language model that runs inside your browser.",
            "I am a tiny language model. I can tell a short story, but please do not trust my facts.",
        ],
    ),
    (
        ["How are you?", "How are you today?", "How do you feel?"],
        ["I am fine, thank you. How are you?", "I am very well today. Thank you for asking!", "I am happy, because I can talk to you."],
    ),
    (
        ["Thank you!", "Thanks.", "Thank you very much.", "Thanks a lot!"],
        ["You are welcome!", "You are very welcome. Have a nice day!", "I am glad that I could help."],
    ),
    (
        ["Goodbye!", "Bye!", "See you soon.", "Good night!"],
        ["Goodbye! Have a nice day.", "Bye! I hope to see you again soon.", "Good night! Sleep well."],
    ),
]
